"""The machine's peak: the best rate at which any library here computes a matrix product, in each precision.

The shapes are those of the model's linear layers, and a square. Products take turns with the runners, so that both see
the same machine; the best of all turns is the peak.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from maclip_runtime.tools.measuring.turns import seconds_of

SQUARE, GPU_SQUARE = 2048, 8192
IN_A_TURN = 2  # products of one shape
ON_GPU = 20  # products that are timed as one: a single one is shorter than its launch
FLOPS_EACH = 2  # a multiplication and an addition

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Rate:
    """A product [m, k] x [k, n] by `library`: `flops` a second, an addition and a multiplication counted as two."""

    library: str
    device: str
    precision: str
    shape: Shape
    flops: float


def product_shapes(rows: int, width: int, device: str) -> list[Shape]:
    """Of a ViT's linear layers on one clip's `rows` tokens, and a square."""
    square = SQUARE if device == "cpu" else GPU_SQUARE
    return [(rows, width, width), (rows, width, 4 * width), (rows, 4 * width, width), (square, square, square)]


def product_libraries(device: str, precision: str) -> list[str]:
    """Libraries whose products are measured in a precision; none where there is nothing to compare with."""
    if device != "cpu":
        return ["torch"]
    return {
        "float32": ["torch", "onnxruntime", "openvino"],
        "bf16": ["torch", "openvino"],
        "int8": ["torch", "onnxruntime"],
    }.get(precision, [])


class Products:
    """The products of one library in a child process; a turn gives each one's `Rate`."""

    def __init__(self, library: str, device: str, precisions: tuple[str, ...], shapes: list[Shape], threads: int):
        make: dict[str, Callable[..., Callable[[], Any]]] = {
            "torch": _torch_product,
            "onnxruntime": _onnx_product,
            "openvino": _openvino_product,
        }
        self._library, self._device = library, device
        self._products = [
            (precision, shape, make[library](precision, shape, device, threads))
            for precision in precisions
            for shape in shapes
        ]
        self.facts = None

    def turn(self, work: str) -> list[Rate]:
        """The rate of each product, the better of a few runs."""
        rates = []
        for precision, shape, product in self._products:
            count = 1 if self._device == "cpu" else ON_GPU
            flops = FLOPS_EACH * shape[0] * shape[1] * shape[2] * count
            seconds = min(seconds_of(product) for _ in range(IN_A_TURN))
            rates.append(Rate(self._library, self._device, precision, shape, flops / seconds))
        return rates


def _torch_product(precision: str, shape: Shape, device: str, threads: int) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(threads)
    rows, inner, columns = shape
    if precision == "int8":
        left = torch.randint(-127, 128, (rows, inner), dtype=torch.int8)
        right = torch.randint(-127, 128, (columns, inner), dtype=torch.int8).t()
        return lambda: torch._int_mm(left, right)
    dtype = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    a = torch.randn(rows, inner, device=device).to(dtype)
    b = torch.randn(columns, inner, device=device).to(dtype).t()  # as nn.Linear keeps its weight
    if device == "cpu":
        return lambda: torch.mm(a, b)

    def on_gpu() -> None:
        for _ in range(ON_GPU):
            torch.mm(a, b)
        torch.cuda.synchronize()

    return on_gpu


def _onnx_product(precision: str, shape: Shape, device: str, threads: int) -> Callable[[], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        _product_graph(precision, shape).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {"x": _left(precision, shape)}
    return lambda: session.run(None, feed)


def _openvino_product(precision: str, shape: Shape, device: str, threads: int) -> Callable[[], Any]:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": {"float32": "f32"}.get(precision, precision)}
    compiled = core.compile_model(
        core.read_model(_product_graph("float32", shape).SerializeToString()),
        "CPU",
        settings | {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"},
    )
    feed = {"x": _left("float32", shape)}
    return lambda: compiled(feed)


def _left(precision: str, shape: Shape) -> Any:
    random = np.random.default_rng(0)
    if precision == "int8":
        return random.integers(0, 256, shape[:2], dtype=np.uint8)  # what activations are quantized to
    return random.standard_normal(shape[:2]).astype(np.float32)


def _product_graph(precision: str, shape: Shape) -> Any:
    """A graph of one product with a constant, as a linear layer is."""
    import onnx
    from onnx import TensorProto, helper

    rows, inner, columns = shape
    random = np.random.default_rng(1)
    if precision == "int8":
        operator, left, out = "MatMulInteger", TensorProto.UINT8, TensorProto.INT32
        weight = random.integers(-127, 128, (inner, columns), dtype=np.int8)
    else:
        operator, left, out = "MatMul", TensorProto.FLOAT, TensorProto.FLOAT
        weight = random.standard_normal((inner, columns)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", left, [rows, inner])],
        [helper.make_tensor_value_info("y", out, [rows, columns])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
