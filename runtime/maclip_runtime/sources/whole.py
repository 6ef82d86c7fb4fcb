"""A recorded source as one whole clip. It is opened twice: to count its frames, and to read the chosen ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Indices, Pixels
from maclip_runtime.reading.times import length_s
from maclip_runtime.sources.opening import open_source


def read_whole(
    uri: str, choose: Callable[[int], Indices], transform: Callable[[Pixels], Pixels]
) -> tuple[Pixels, float]:
    """Chosen frames of a recorded source, uint8 [T, h, w, 3], and its length in seconds.

    uri: an address of which `is_recorded` is true.
    choose: maps the number of frames to int64 [T] indices.
    transform: applied to each chosen frame, uint8 [H, W, 3] -> uint8 [h, w, 3].

    Raises what `open_source` and the source's `read` raise, and `clip-too-short` where it has fewer frames than
    `choose` returns indices.
    """
    with open_source(uri) as source:
        times = [frame.time_s for frame in source]
        name = source.name
    indices = choose(len(times))
    if len(times) < len(indices):
        raise MaclipError(
            "clip-too-short",
            f"{name} has {len(times)} {'frame' if len(times) == 1 else 'frames'}; at least {len(indices)} are needed.",
            "Give a longer clip of the action.",
        )
    wanted = set(indices.tolist())
    with open_source(uri) as source:
        made = {frame.index: transform(frame.pixels) for frame in source if frame.index in wanted}
    step_s = times[-1] / max(1, len(times) - 1)
    return np.stack([made[index] for index in indices.tolist()]), length_s(times[-1], len(times), step_s)
