"""What the network does for streams: frames to tokens and windows to features, those of all sources in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from maclip_runtime.callbacks import Audience
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.reading.frames import Floats, Pixels
from maclip_runtime.sources import Source
from maclip_runtime.streaming.cutter import Cutter, Slot, Step, Window
from maclip_runtime.streaming.grid import Grid

MOST_AT_ONCE = 16  # frames or windows in one run: bounds the memory a run takes

Item = TypeVar("Item")
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Seen:
    """A window's query features, float32 [T, D'], of `start_s` to `end_s`; `covers_s` is the part it speaks for."""

    features: Floats
    start_s: float
    end_s: float
    covers_s: tuple[float, float]


def watch_features(source: Source, encoder: Encoder, grid: Grid, prepare: Callable[[Pixels], Pixels]) -> Iterator[Seen]:
    """The features of each window of a source, exactly as recognition computes them: for calibration and benchmarks.

    A source shorter than a window gives none. Raises what reading the source does.
    """
    network, cutter = Network(encoder), Cutter(grid, prepare)

    def seen(step: Step) -> Iterator[Seen]:
        network.pass_stem(step.slots)
        for window, features in zip(step.windows, network.features(step.windows), strict=True):
            yield Seen(features, window.start_s, window.end_s, window.covers_s)

    for frame in source:
        yield from seen(cutter.add(frame))
    yield from seen(cutter.finish())


class Network:
    """Runs a bundle's stem and tower, or its one visual graph, for streams, and says how long each took."""

    def __init__(self, encoder: Encoder, audience: Audience | None = None) -> None:
        self.encoder = encoder
        self._audience = audience or Audience()

    def pass_stem(self, slots: Sequence[Slot]) -> None:
        """Give each slot its tokens; nothing to do where the bundle has no stem."""
        if not self.encoder.has_stem:
            return
        for some in pieces(slots):
            with self.timed("stem"):
                tokens = self.encoder.stem(np.stack([_pixels(slot) for slot in some]))
            for slot, made in zip(some, tokens, strict=True):
                # A copy: a view would keep the whole run's tokens for as long as one frame of it is in a ring.
                slot.tokens, slot.pixels = made.copy() if len(some) > 1 else made, None

    def features(self, windows: Sequence[Window]) -> list[Floats]:
        """Float32 [T, D'] of each window; its slots have passed the stem."""
        return [features for some in pieces(windows) for features in self._run(some)]

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Tell the listeners how long this block took."""
        begun = time.perf_counter()
        yield
        self._audience.timing(stage, time.perf_counter() - begun)

    def _run(self, windows: Sequence[Window]) -> Floats:
        if self.encoder.has_stem:
            tokens = _gathered([[_tokens(slot) for slot in window.slots] for window in windows])
            with self.timed("tower"):
                return self.encoder.tower(tokens)  # (B, T, N+1, D) -> (B, T, D')
        frames = _gathered([[_pixels(slot) for slot in window.slots] for window in windows])
        with self.timed("visual"):
            return self.encoder.features(frames)


def _pixels(slot: Slot) -> Pixels:
    assert slot.pixels is not None
    return slot.pixels


def _tokens(slot: Slot) -> Floats:
    assert slot.tokens is not None
    return slot.tokens


def _gathered(rows: list[list[npt.NDArray[Number]]]) -> npt.NDArray[Number]:
    """B rows of T arrays in one, [B, T, ...], copied once."""
    flat = np.stack([array for row in rows for array in row])
    return flat.reshape(len(rows), -1, *flat.shape[1:])


def pieces(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """`items` in runs that the memory allows for."""
    return (items[at : at + MOST_AT_ONCE] for at in range(0, len(items), MOST_AT_ONCE))
