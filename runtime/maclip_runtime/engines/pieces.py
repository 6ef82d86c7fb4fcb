"""Rows of a graph that do not depend on each other: clips, frames or names, run any number in pieces."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from maclip_runtime.bundle.manifest import GraphSpec
from maclip_runtime.engines.base import Array

# The numbers of one clip: 8 frames of 224 x 224 x 3, or as many tokens of ViT-B/16. Four clips in one piece take three
# times the memory (benchmarks.session_options), and a processor is busy with one.
PIECE_NUMBERS = 1_250_000


def row_axis(spec: GraphSpec) -> str | None:
    """The axis whose rows do not depend on each other: the first of what the graph gives."""
    first = spec.outputs[0].shape[0]
    return first if isinstance(first, str) else None


def rows_at_once(spec: GraphSpec) -> int:
    """How many rows a processor is given at once: as many as make one clip of a large network, at least one."""
    rows = row_axis(spec)
    row = max(
        math.prod(n for n in tensor.shape if isinstance(n, int)) for tensor in spec.inputs if tensor.shape[0] == rows
    )
    return max(1, PIECE_NUMBERS // row)


def sizes_of(spec: GraphSpec, inputs: dict[str, Array]) -> dict[str, int]:
    """The size of each free axis. Raises ValueError where arrays are not what the graph takes."""
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
    spec: GraphSpec, inputs: dict[str, Array], most: int, run: Callable[[dict[str, Array]], tuple[Array, ...]]
) -> tuple[Array, ...]:
    """Run any number of rows, at most `most` at once; what has no rows goes along each time."""
    rows, sizes = row_axis(spec), sizes_of(spec, inputs)
    if rows is None or sizes[rows] <= most:
        return run(inputs)
    with_rows = {tensor.name for tensor in spec.inputs if tensor.shape[0] == rows}
    pieces = [
        run({name: a[start : start + most] if name in with_rows else a for name, a in inputs.items()})
        for start in range(0, sizes[rows], most)
    ]
    return tuple(np.concatenate(parts) for parts in zip(*pieces, strict=True))
