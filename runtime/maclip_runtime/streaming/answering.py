"""What the network does for streams: frames to tokens and windows to answers, those of all sources in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from maclip_runtime.decisions import Answer
from maclip_runtime.encoder import Encoder
from maclip_runtime.frames import Floats, Pixels
from maclip_runtime.index import Index
from maclip_runtime.listeners import Audience
from maclip_runtime.streaming.stream import Slot, Window

MOST_AT_ONCE = 16  # frames or windows in one run: bounds the memory a run takes

LimitsOf = Callable[[Index], Floats]
Item = TypeVar("Item")
Number = TypeVar("Number", bound=np.generic)


class Answerer:
    """Runs a bundle's graphs for streams and says how long each took.

    `current` gives the gallery's index as it stands (None: empty), `limits_of` its limits [C].
    """

    def __init__(
        self,
        encoder: Encoder,
        current: Callable[[], Index | None],
        limits_of: LimitsOf,
        audience: Audience,
    ) -> None:
        self._encoder = encoder
        self._current = current
        self._limits_of = limits_of
        self._audience = audience

    def pass_stem(self, slots: Sequence[Slot]) -> None:
        """Give each slot its tokens; nothing to do where the bundle has no stem."""
        if not self._encoder.has_stem:
            return
        for some in _pieces(slots):
            with self._timed("stem"):
                tokens = self._encoder.stem(np.stack([pixels_of(slot) for slot in some]))
            for slot, made in zip(some, tokens, strict=True):
                # A copy: a view would keep the whole run's tokens for as long as one frame of it is in a ring.
                slot.tokens, slot.pixels = made.copy() if len(some) > 1 else made, None

    def answers(self, windows: Sequence[Window]) -> list[Answer]:
        """What each window was measured to be; a still one costs nothing."""
        moving = [window for window in windows if not window.still]
        measured = iter([answer for some in _pieces(moving) for answer in self._measure(self._features(some))])
        return [Answer.nothing(still=True) if window.still else next(measured) for window in windows]

    def answer_clip(self, features: Floats) -> Answer:
        """The answer to one clip's features [T, D']."""
        return self._measure(features[None])[0]

    def _features(self, windows: Sequence[Window]) -> Floats:
        """Float32 [B, T, D'] of B windows whose slots have passed the stem."""
        if self._encoder.has_stem:
            tokens = _gathered([[tokens_of(slot) for slot in window.slots] for window in windows])
            with self._timed("tower"):
                return self._encoder.tower(tokens)  # (B, T, N+1, D) -> (B, T, D')
        frames = _gathered([[pixels_of(slot) for slot in window.slots] for window in windows])
        with self._timed("visual"):
            return self._encoder.features(frames)

    def _measure(self, features: Floats) -> list[Answer]:
        with self._timed("match"):
            index = self._current()
            if index is None:
                return [Answer.nothing()] * len(features)
            usable = np.asarray(np.isfinite(features).all(axis=(1, 2)))
            match = self._encoder.match(
                np.where(usable[:, None, None], features, 0), index.prototypes, index.text, index.has_text
            )
            usable &= np.isfinite(match.probabilities + match.distances).all(axis=1)
        limits = self._limits_of(index)
        return [
            Answer(index.names, distances, probabilities, limits) if fits else Answer.nothing(invalid=True)
            for fits, distances, probabilities in zip(usable, match.distances, match.probabilities, strict=True)
        ]

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._audience.timing(stage, time.perf_counter() - begun)


def pixels_of(slot: Slot) -> Pixels:
    """The pixels of a slot that has not passed a stem."""
    assert slot.pixels is not None
    return slot.pixels


def tokens_of(slot: Slot) -> Floats:
    """The tokens of a slot that has passed the stem."""
    assert slot.tokens is not None
    return slot.tokens


def _gathered(rows: list[list[npt.NDArray[Number]]]) -> npt.NDArray[Number]:
    """B rows of T arrays in one, [B, T, ...], copied once."""
    flat = np.stack([array for row in rows for array in row])
    return flat.reshape(len(rows), -1, *flat.shape[1:])


def _pieces(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (items[at : at + MOST_AT_ONCE] for at in range(0, len(items), MOST_AT_ONCE))
