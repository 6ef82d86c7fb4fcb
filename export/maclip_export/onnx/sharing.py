"""Several forms of one graph with one file of weights: a tensor that two forms have in common is stored once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maclip_export.onnx.storage import load

MIN_SHARED_BYTES = 1024  # smaller tensors stay in the graph's own file
ALIGNMENT = 4096  # of a tensor in the weights' file, so that an engine can map it


def share_weights(forms: Sequence[Path], outs: Sequence[Path], weights: Path) -> None:
    """Write the graphs `forms` to `outs`, with all large tensors in the file `weights` beside them.

    forms: graphs of the same network, each with its weights beside it.
    outs: where they go; all in the folder of `weights`.
    """
    import onnx

    places: dict[bytes, tuple[int, int]] = {}  # offset and length, by content
    with weights.open("wb") as file:
        for path, out in zip(forms, outs, strict=True):
            model = load(path)
            for tensor in model.graph.initializer:
                _move(tensor, file, weights.name, places)
            out.unlink(missing_ok=True)
            onnx.save(model, out)
    if not places:
        weights.unlink()


def _move(tensor: Any, file: Any, name: str, places: dict[bytes, tuple[int, int]]) -> None:
    """Put the content of `tensor` into the file, unless it is there or small, and leave the place in the tensor."""
    import onnx

    content = tensor.raw_data if tensor.HasField("raw_data") else onnx.numpy_helper.to_array(tensor).tobytes()
    if len(content) < MIN_SHARED_BYTES:
        return
    if content not in places:
        file.write(b"\0" * (-file.tell() % ALIGNMENT))
        places[content] = file.tell(), len(content)
        file.write(content)
    offset, length = places[content]
    bare = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    bare.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", name), ("offset", offset), ("length", length)):
        bare.external_data.add(key=key, value=str(value))
    tensor.CopyFrom(bare)
