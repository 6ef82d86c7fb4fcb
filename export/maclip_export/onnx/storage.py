"""ONNX files, with the weights of each graph in one file beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load(path: Path) -> Any:
    """The model at `path` with its weights."""
    import onnx

    return onnx.load(path)


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
