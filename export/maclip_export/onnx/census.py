"""The contents of a graph file: types of weights and products, counted from the file itself."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from maclip_runtime.bundle.manifest import Census

# Matrix products and convolutions, with the inputs that are multiplied.
PRODUCTS = {"MatMul": (0, 1), "Gemm": (0, 1), "Conv": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3)}
QUANTIZED = "DequantizeLinear"


def census(path: Path) -> Census:
    """Count the bytes of constants, the products and the nodes of the graph at `path` by type.

    A product of two outputs of `DequantizeLinear` counts as integer: that is how the QDQ form writes it.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(path, load_external_data=False))
    types = _types(model)
    makers = {output: node for node in model.graph.node for output in node.output}
    weights: Counter[str] = Counter()
    for tensor in model.graph.initializer:
        weights[_name(tensor.data_type)] += math.prod(tensor.dims) * _width(tensor.data_type)
    products: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type in PRODUCTS:
            operands = [node.input[i] for i in PRODUCTS[node.op_type]]
            sources = [makers.get(operand) for operand in operands]
            if all(maker is not None and maker.op_type == QUANTIZED for maker in sources):
                operands = [maker.input[0] for maker in sources if maker is not None]
            # Of an integer product the type of the weight: some forms have unsigned activations.
            products[types.get(operands[-1], "unknown")] += 1
    return Census(dict(sorted(weights.items())), dict(sorted(products.items())), len(model.graph.node))


def _types(model: Any) -> dict[str, str]:
    graph = model.graph
    known = {tensor.name: _name(tensor.data_type) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.elem_type:
            known[value.name] = _name(value.type.tensor_type.elem_type)
    return known


def _name(data_type: int) -> str:
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(data_type).name)


def _width(data_type: int) -> int:
    import onnx

    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)
