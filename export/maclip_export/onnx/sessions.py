"""Sessions on the CPU that compute what the graph file says, fp16 included.

onnxruntime has no fp16 products for x86 CPUs. It computes them in float32 and drops the casts in between, so a value
above 65,504 survives there but is infinite on a GPU. To find it, every fp16 value passes a pair of operators that has
to store it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ERRORS_ONLY = 3  # onnxruntime's log severity
BARRIER_AXES = "rounding.axes"


def open_session(path: Path, extra_outputs: Sequence[str] = ()) -> Any:
    """An onnxruntime session on the CPU for the graph at `path`, with fp16 values truly rounded.

    extra_outputs: inner values that become outputs too; those that the graph does not have are left out.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    with _probe(path, extra_outputs) as probe:
        return onnxruntime.InferenceSession(str(probe), options, providers=["CPUExecutionProvider"])


@contextmanager
def _probe(path: Path, extra_outputs: Sequence[str]) -> Iterator[Path]:
    """The file itself, or a changed copy in the same folder, where its weights are."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    halves = _half_values(model)
    there = {value for node in model.graph.node for value in node.output}
    wanted = [value for value in extra_outputs if value in there]
    if not halves and not wanted:
        yield path
        return
    if halves:
        _add_barriers(model, halves)
    model.graph.output.extend(onnx.ValueInfoProto(name=value) for value in wanted)
    probe = path.with_name(f".{path.name}.probe")
    try:
        onnx.save(model, probe)
        yield probe
    finally:
        probe.unlink(missing_ok=True)


def _half_values(model: Any) -> set[str]:
    """The computed values of a graph that are fp16."""
    import onnx

    half = onnx.TensorProto.FLOAT16
    if not any(t.data_type == half for t in model.graph.initializer) and not any(
        a.name == "to" and a.i == half for node in model.graph.node for a in node.attribute
    ):
        return set()
    known = onnx.shape_inference.infer_shapes(model).graph.value_info
    return {value.name for value in known if value.type.tensor_type.elem_type == half}


def _add_barriers(model: Any, halves: set[str]) -> None:
    """Put an Unsqueeze and a Squeeze after each fp16 value: onnxruntime does not optimise across them."""
    import onnx

    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        stores = []
        for i, value in enumerate(node.output):
            if value in halves:
                raw, stored = f"{value}.raw", f"{value}.stored"
                node.output[i] = raw
                stores.append(onnx.helper.make_node("Unsqueeze", [raw, BARRIER_AXES], [stored], stored))
                stores.append(onnx.helper.make_node("Squeeze", [stored, BARRIER_AXES], [value], f"{value}.out"))
        model.graph.node.extend([node, *stores])
    model.graph.initializer.append(onnx.helper.make_tensor(BARRIER_AXES, onnx.TensorProto.INT64, [1], [0]))
    del model.graph.value_info[:]
