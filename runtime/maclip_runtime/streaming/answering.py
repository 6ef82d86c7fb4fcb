"""Windows of streams, compared with the gallery as it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from maclip_runtime.decisions import Answer
from maclip_runtime.matching.index import Index
from maclip_runtime.reading.frames import Floats
from maclip_runtime.streaming.cutter import Slot, Window
from maclip_runtime.streaming.network import Network, pieces


class Answerer:
    """From slots and windows to what was measured of them.

    `current` gives the gallery's index as it stands (None: empty), `limits_of` its limits [C].
    """

    def __init__(
        self, network: Network, current: Callable[[], Index | None], limits_of: Callable[[Index], Floats]
    ) -> None:
        self._network = network
        self._current = current
        self._limits_of = limits_of

    def pass_stem(self, slots: Sequence[Slot]) -> None:
        """Give each slot its tokens."""
        self._network.pass_stem(slots)

    def answers(self, windows: Sequence[Window]) -> list[Answer]:
        """What each window was measured to be; a still one costs nothing."""
        moving = [window for window in windows if not window.still]
        measured = iter([one for some in pieces(moving) for one in self.measure(self._network.features(some))])
        return [Answer.nothing(still=True) if window.still else next(measured) for window in windows]

    def measure(self, clips: Sequence[Floats]) -> list[Answer]:
        """What windows or clips were measured to be: query features [T, D'] of each."""
        features = np.stack(clips)
        with self._network.timed("match"):
            index = self._current()
            if index is None:
                return [Answer.nothing()] * len(features)
            usable = np.asarray(np.isfinite(features).all(axis=(1, 2)))
            match = self._network.encoder.match(
                np.where(usable[:, None, None], features, 0), index.prototypes, index.text, index.has_text
            )
            usable &= np.isfinite(match.probabilities + match.distances).all(axis=1)
        limits = self._limits_of(index)
        return [
            Answer(index.names, distances, probabilities, limits) if fits else Answer.nothing(invalid=True)
            for fits, distances, probabilities in zip(usable, match.distances, match.probabilities, strict=True)
        ]
