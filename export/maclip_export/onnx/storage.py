"""ONNX files, with the weights of each graph in one file beside it.

A model is never serialised with its weights: protobuf ends at 2 GiB, and ViT-H-14's image tower has 2.4.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load(path: Path) -> Any:
    """The model at `path` with its weights."""
    import onnx

    return onnx.load(path)


def without_weights(path: Path) -> Any:
    """The model at `path` without the weights beside it; their names, types and shapes are there."""
    import onnx

    return onnx.load(path, load_external_data=False)


def inferred(path: Path) -> list[Any]:
    """Types and shapes of all inner values of the graph at `path`."""
    import onnx

    return list(onnx.shape_inference.infer_shapes(without_weights(path)).graph.value_info)


def save(model: Any, path: Path) -> None:
    """Write `model` to `path` and its weights to one file beside it; replaces earlier ones."""
    import onnx

    beside = path.with_suffix(".onnx.data")
    path.unlink(missing_ok=True)
    beside.unlink(missing_ok=True)
    onnx.save(
        model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=beside.name, size_threshold=1024
    )


def tidy(model: Any) -> Any:
    """The model without nodes that have no effect, but with all its inputs."""
    import onnxslim

    inputs = list(model.graph.input)
    clean = onnxslim.slim(model)
    # It drops unused inputs (plain CLIP does not read the text), but the runtime feeds them.
    del clean.graph.input[:]
    clean.graph.input.extend(inputs)
    return clean
