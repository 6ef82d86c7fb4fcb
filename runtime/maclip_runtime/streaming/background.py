"""Windows of video outside recognition: for calibration on background, and for benchmarks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.fleet import HERE, Fleet, in_order
from maclip_runtime.limits.calibrate import Background
from maclip_runtime.matching.clips import read_take
from maclip_runtime.reading.frames import Floats, Pixels, prepare
from maclip_runtime.sources import Address, Source, SourceOptions, absolute, is_live, open_source, redact
from maclip_runtime.streaming.pipeline import MAX_ROWS, Network, pieces
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
    fleet: Fleet = HERE,
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
        fleet: whose workers look at the videos, one each at a time; default: this process, which looks at cameras.

    Raises `option-invalid` for a camera without `seconds`, `window-invalid`, `clip-too-short`, and what reading a
    source raises.
    """
    options = options or SourceOptions()
    grid = Grid.of(encoder.bundle.manifest.frames, window_s, hop_s)
    for uri in sources:
        if is_live(uri) and seconds is None:
            raise MaclipError(
                "option-invalid",
                f"{redact(uri)} has no end, and how long to look at it was not said.",
                "Give --seconds, for instance 600.",
            )
    job = Looking(encoder, grid, seconds, options)
    # A worker is in another folder.
    numbered = [(number, uri if is_live(uri) else _absolute(uri)) for number, uri in enumerate(sources)]
    parts: list[Looked] = []
    total_s = 0.0
    # A camera does not show the same again to a worker that takes over.
    for where, live in ((HERE, True), (fleet, False)):
        for part in in_order(where, job, [one for one in numbered if is_live(one[1]) == live]):
            parts.append(part)
            total_s += sum(part.seconds)
            if progress:
                progress(total_s)
    parts.sort(key=lambda part: part.source)
    if not parts:
        raise MaclipError(
            "clip-too-short", "The background is shorter than a window.", "Give more of it, or a shorter --window."
        )
    names = ", ".join(redact(uri) for uri in sources)
    return Background(
        np.concatenate([part.features for part in parts]),
        np.repeat([part.source for part in parts], [len(part.seconds) for part in parts]),
        sum(seconds for part in parts for seconds in part.seconds),
        names,
        max(1, math.ceil(window_s / grid.hop_s - 1e-6) - 1),
    )


@dataclass(frozen=True)
class Looked:
    """Windows of one source: query features, float32 [n, T, D'], and how many seconds each stands for."""

    source: int
    features: Floats
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Looking:
    """A job whose shares are sources with their numbers, and whose parts are windows, `MAX_ROWS` at most."""

    encoder: Encoder
    grid: Grid
    seconds: float | None
    options: SourceOptions

    def parts(self, share: tuple[int, Address], skip: int) -> Iterator[Looked]:
        """The windows of a source; of one shorter than a window, the whole clip as one."""
        number, uri = share
        preprocess = self.encoder.bundle.manifest.preprocess
        with open_source(uri, self.options) as opened:
            windows = watch_features(opened, self.encoder, self.grid, partial(prepare, preprocess=preprocess))
            looked = self._batches(number, windows)
            empty = True
            for place, part in enumerate(looked):
                empty = False
                if place >= skip:
                    yield part
        if empty and not is_live(uri) and not skip:
            take = read_take(str(uri), self.encoder.bundle.manifest, self.options.roi)
            yield Looked(number, self.encoder.features(take.frames[None]), (take.duration_s,))

    def _batches(self, number: int, windows: Iterator[Seen]) -> Iterator[Looked]:
        batch: list[Seen] = []
        for window in windows:
            batch.append(window)
            end = self.seconds is not None and window.end_s >= self.seconds
            if end or len(batch) == MAX_ROWS:
                yield _looked(number, batch)
                batch = []
            if end:
                return
        if batch:
            yield _looked(number, batch)


def _absolute(uri: Address) -> Address:
    return absolute(uri) if isinstance(uri, str) else uri


def _looked(number: int, batch: list[Seen]) -> Looked:
    seconds = tuple(one.covers_s[1] - one.covers_s[0] for one in batch)
    return Looked(number, np.stack([one.features for one in batch]), seconds)


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
