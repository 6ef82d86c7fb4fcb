"""Lower precision: fp16 for GPUs, int8 for CPUs and small GPUs. The result is an ordinary ONNX file.

Layer norms, softmax and vector norms stay in float32, where fp16 and int8 models often go wrong. Only linear layers
(products with a constant) are quantized, their weights by channel.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maclip_export.onnx.storage import inferred, load, save, tidy, without_weights

Feed = dict[str, npt.NDArray[Any]]

# fp16 has five bits of exponent: sums of squares and exponentials overflow first.
# Clip keeps norms above a number that is 0 in fp16.
FLOAT32_OPERATORS = ("LayerNormalization", "Softmax", "ReduceL2", "ReduceSum", "ReduceMean", "Clip", "Exp", "Log")
LINEAR = ("MatMul", "Gemm")


def to_half(path: Path, matching: bool) -> None:
    """Convert the graph at `path` to fp16 in place; inputs and outputs keep their types.

    Weights and matrix products become fp16; `FLOAT32_OPERATORS` and the normalisation of pixels stay float32. In a
    `matching` graph only the linear layers of the prototype module are converted, not cosines, soft-min and
    probabilities.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    model = load(path)
    if not any(node.op_type in (*LINEAR, "Conv") for node in model.graph.node):
        return  # there are no products: casts would only cost time
    if matching:
        _halve_linear_layers(model.graph)
        save(model, path)
        return
    keep = _before_first_product(model.graph)
    never = [*DEFAULT_OP_BLOCK_LIST, *FLOAT32_OPERATORS]
    del model.graph.value_info[:]
    model.graph.value_info.extend(inferred(path))  # the conversion would serialise the model, up to 2 GiB
    half = convert_float_to_float16(
        model, keep_io_types=True, disable_shape_infer=True, op_block_list=never, node_block_list=keep
    )
    _stay_in_float32(half.graph)
    save(tidy(half), path)


def to_dynamic_int8(path: Path, out: Path) -> None:
    """Write the graph at `path` to `out` with int8 weights; activations are quantized at run time."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            path,
            out,
            op_types_to_quantize=list(LINEAR),
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_without_constant(without_weights(path).graph),
            use_external_data_format=True,
        )
    save(tidy(load(out)), out)


def to_static_int8(path: Path, out: Path, feeds: Iterable[Feed]) -> None:
    """Write the graph at `path` to `out` in the QDQ form, with the ranges of activations measured on `feeds`.

    Symmetric, as TensorRT requires: int8 activations by tensor, int8 weights by channel.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with _quiet():
        quantize_static(
            path,
            out,
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(LINEAR),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_without_constant(without_weights(path).graph),
            use_external_data_format=True,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                # The sum of a product stays in float32: a bias, a norm or a softmax follows.
                "OpTypesToExcludeOutputQuantization": list(LINEAR),
                "QuantizeBias": False,
            },
        )
    save(load(out), out)


def _without_constant(graph: Any) -> list[str]:
    """The products of two activations, which are not linear layers: attention and cosines."""
    constants = {tensor.name for tensor in graph.initializer}
    return _names(n for n in graph.node if n.op_type in LINEAR and not constants & set(n.input[:2]))


def _halve_linear_layers(graph: Any) -> None:
    """Convert products with a constant to fp16, between two casts; leave everything else."""
    import onnx

    kind = onnx.TensorProto.FLOAT16
    constants = {tensor.name: tensor for tensor in graph.initializer}
    linear = set(_names(n for n in graph.node if n.op_type in LINEAR)) - set(_without_constant(graph))
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.name not in linear:
            graph.node.append(node)
            continue
        for i, value in enumerate(node.input):
            if value in constants:
                array = onnx.numpy_helper.to_array(constants[value]).astype(np.float16)
                node.input[i] = f"{value}.half"
                if node.input[i] not in {tensor.name for tensor in graph.initializer}:
                    graph.initializer.append(onnx.numpy_helper.from_array(array, node.input[i]))
            else:
                node.input[i] = f"{node.name}.input.{i}"
                graph.node.append(onnx.helper.make_node("Cast", [value], [node.input[i]], node.input[i], to=kind))
        output, node.output[0] = node.output[0], f"{node.name}.half"
        graph.node.append(node)
        graph.node.append(
            onnx.helper.make_node("Cast", [node.output[0]], [output], f"{node.name}.output", to=onnx.TensorProto.FLOAT)
        )
    used = {value for node in graph.node for value in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _stay_in_float32(graph: Any) -> None:
    """Remove the rounding to fp16 that the conversion puts between two float32 operators."""
    import onnx

    casts = {n.output[0]: n for n in graph.node if n.op_type == "Cast"}
    to = {output: node.attribute[0].i for output, node in casts.items()}
    wide = {v.name for v in (*graph.input, *graph.value_info) if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    rounded = {v for v, kind in to.items() if kind == onnx.TensorProto.FLOAT16 and casts[v].input[0] in wide}
    for back in [n for n in graph.node if n.op_type == "Cast" and to[n.output[0]] == onnx.TensorProto.FLOAT]:
        if back.input[0] in rounded:
            before = casts[back.input[0]].input[0]
            for node in graph.node:
                for i, value in enumerate(node.input):
                    if value == back.output[0]:
                        node.input[i] = before


def _names(nodes: Iterable[Any]) -> list[str]:
    return [node.name for node in nodes]


def _before_first_product(graph: Any) -> list[str]:
    """The nodes between the pixels and the patch embedding; none if the graph has no pixels."""
    makers = {output: node for node in graph.node for output in node.output}
    first = next((node for node in graph.node if node.op_type == "Conv"), None)
    found: list[str] = []
    node = makers.get(first.input[0]) if first is not None else None
    while node is not None:
        found.append(node.name)
        node = makers.get(node.input[0]) if node.input else None
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the root logger, which advises to pre-process the graph: it is pre-processed."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Reader:
    """Calibration inputs in the form that onnxruntime reads."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)
