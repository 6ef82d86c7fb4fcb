"""Split a large batch: the rows of a graph (clips, frames or names) are independent, so they run in pieces."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from maclip_runtime.bundle.manifest import GraphSpec
from maclip_runtime.engines.base import Array

# Input elements of one clip: 8 frames of 224 x 224 x 3, or their ViT-B/16 tokens. Four clips in one piece take three
# times the memory (benchmarks.session_options), and one already keeps a CPU busy.
PIECE_ELEMENTS = 1_250_000


def row_axis(spec: GraphSpec) -> str | None:
    """The axis with independent rows: the first axis of the first output; None where that axis is fixed."""
    first = spec.outputs[0].shape[0]
    return first if isinstance(first, str) else None


def rows_at_once(spec: GraphSpec) -> int:
    """How many rows a CPU runs at once: as many as one clip of a large network has elements, at least 1."""
    rows = row_axis(spec)
    row = max(
        math.prod(n for n in tensor.shape if isinstance(n, int)) for tensor in spec.inputs if tensor.shape[0] == rows
    )
    return max(1, PIECE_ELEMENTS // row)


def sizes_of(spec: GraphSpec, inputs: dict[str, Array]) -> dict[str, int]:
    """The size of each dynamic axis. Raises ValueError for inputs of another shape than the graph takes."""
    sizes: dict[str, int] = {}
    for tensor in spec.inputs:
        shape = inputs[tensor.name].shape if tensor.name in inputs else ()
        if len(shape) == len(tensor.shape):
            stated = (
                sizes.setdefault(n, m) if isinstance(n, str) else n for n, m in zip(tensor.shape, shape, strict=True)
            )
            if shape == tuple(stated):
                continue
        raise ValueError(f"{tensor.name} has shape {list(shape)}, the graph takes {list(tensor.shape)}")
    return sizes


def run_in_pieces(
    spec: GraphSpec, inputs: dict[str, Array], max_rows: int, run: Callable[[dict[str, Array]], tuple[Array, ...]]
) -> tuple[Array, ...]:
    """Run any number of rows, up to `max_rows` at once; inputs without the row axis are passed to each piece."""
    rows, sizes = row_axis(spec), sizes_of(spec, inputs)
    if rows is None or sizes[rows] <= max_rows:
        return run(inputs)
    with_rows = {tensor.name for tensor in spec.inputs if tensor.shape[0] == rows}
    pieces = [
        run({name: a[start : start + max_rows] if name in with_rows else a for name, a in inputs.items()})
        for start in range(0, sizes[rows], max_rows)
    ]
    return tuple(np.concatenate(parts) for parts in zip(*pieces, strict=True))
