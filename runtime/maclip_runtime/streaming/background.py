"""Windows of video outside recognition: for calibration on background, and for benchmarks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.limits.calibrate import Background
from maclip_runtime.matching.clips import read_take
from maclip_runtime.reading.frames import Floats, Pixels, prepare
from maclip_runtime.sources import Address, Source, SourceOptions, is_live, open_source, redact
from maclip_runtime.streaming.pipeline import Network, pieces
from maclip_runtime.streaming.windows import Cutter, Grid, Step


@dataclass(frozen=True)
class Seen:
    """A window's query features, float32 [T, D'], from `start_s` to `end_s`; `covers_s`: see `Window`."""

    features: Floats
    start_s: float
    end_s: float
    covers_s: tuple[float, float]


def see_background(
    encoder: Encoder,
    sources: Sequence[Address],
    *,
    window_s: float,
    hop_s: float | None = None,
    seconds: float | None = None,
    progress: Callable[[float], None] | None = None,
    options: SourceOptions | None = None,
) -> Background:
    """Cut each source into windows, as recognition does; a source shorter than a window is one whole clip.

    Args:
        encoder: the bundle's graphs.
        sources: videos or cameras in which none of the classes happens.
        window_s: seconds of a window.
        hop_s: seconds between windows; default: a quarter of the window.
        seconds: how much of each source to look at; default: all of it. A camera needs it.
        progress: called with the seconds seen so far.
        options: how to open the sources.

    Raises `option-invalid` for a camera without `seconds`, `window-invalid`, `clip-too-short`, and what reading a
    source raises.
    """
    preprocess = encoder.bundle.manifest.preprocess
    options = options or SourceOptions()
    grid = Grid.of(encoder.bundle.manifest.frames, window_s, hop_s)
    features: list[Floats] = []
    stretch: list[int] = []
    total_s = 0.0
    for number, uri in enumerate(sources):
        if is_live(uri) and seconds is None:
            raise MaclipError(
                "option-invalid",
                f"{redact(uri)} has no end, and how long to look at it was not said.",
                "Give --seconds, for instance 600.",
            )
        seen = 0
        with open_source(uri, options) as opened:
            for window in watch_features(opened, encoder, grid, partial(prepare, preprocess=preprocess)):
                features.append(window.features)
                stretch.append(number)
                seen += 1
                total_s += window.covers_s[1] - window.covers_s[0]
                if progress:
                    progress(total_s)
                if seconds is not None and window.end_s >= seconds:
                    break
        if not seen and not is_live(uri):
            take = read_take(str(uri), encoder.bundle.manifest, options.roi)
            features.append(encoder.features(take.frames[None])[0])
            stretch.append(number)
            total_s += take.duration_s
    if not features:
        raise MaclipError(
            "clip-too-short", "The background is shorter than a window.", "Give more of it, or a shorter --window."
        )
    names = ", ".join(redact(uri) for uri in sources)
    return Background(
        np.stack(features),
        np.array(stretch, np.int64),
        total_s,
        names,
        max(1, math.ceil(window_s / grid.hop_s - 1e-6) - 1),
    )


def watch_features(source: Source, encoder: Encoder, grid: Grid, prepare: Callable[[Pixels], Pixels]) -> Iterator[Seen]:
    """The features of each window of a source, exactly as recognition computes them.

    A source shorter than a window gives none. Raises what reading the source raises.
    """
    network, cutter = Network(encoder), Cutter(grid, prepare)

    def seen(step: Step) -> Iterator[Seen]:
        network.run_stem(step.slots)
        for some in pieces(step.windows):
            for window, features in zip(some, network.features(some), strict=True):
                yield Seen(features, window.start_s, window.end_s, window.covers_s)

    for frame in source:
        yield from seen(cutter.add(frame))
    yield from seen(cutter.finish())
