"""Measure the shipped runs: accuracy on test classes, and events on validation and test streams.

Only the figures on validation streams choose anything: which run the demo exports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maclip.config import EvaluationConfig
from maclip.data.dataset import open_folders
from maclip.evaluation.evaluator import Evaluator, Result, Support, half_width
from maclip.evaluation.features import store_for
from maclip.evaluation.streams.api import evaluate_streams
from maclip.evaluation.streams.record import StreamRecord
from maclip.runs import Run
from maclip.shipped import ADAPTERS_ONLY, FULL, LADDER, PROTOTYPE_ONLY
from maclip.shipped.settings import Recipe

SHOTS = (1, 5)
WAY = 5
STREAM_SPLITS = ("val", "test")
WATCHED = (LADDER, FULL, PROTOTYPE_ONLY)  # on streams; at equal figures the first is exported
COMPARED = ((FULL, PROTOTYPE_ONLY), (FULL, ADAPTERS_ONLY), (LADDER, PROTOTYPE_ONLY), (LADDER, FULL))


@dataclass(frozen=True)
class Gain:
    """Accuracy of the run `of` minus that of `over` on the same test episodes, and its 95 % interval's half-width."""

    of: str
    over: str
    shot: int
    accuracy: float
    interval: float


@dataclass(frozen=True)
class Figures:
    """What was measured.

    test: results on test classes, by run and shot.
    gains: of each pair of `COMPARED` and each shot.
    streams: of the runs of `WATCHED`, by run and split.
    """

    test: dict[str, dict[int, Result]]
    gains: tuple[Gain, ...]
    streams: dict[str, dict[str, StreamRecord]]

    @property
    def exported(self) -> str:
        """The run that the demo exports: that with the highest F1 on validation streams."""
        return max(WATCHED, key=self.validation_f1)

    def validation_f1(self, name: str) -> float:
        """F1 of a run on validation streams, 0..1; 0 where nothing was found."""
        return self.streams[name]["val"].figures["f1"].mean or 0.0


def measure(runs: Mapping[str, Run], clips: Path, streams: Path, recipe: Recipe) -> Figures:
    """Measure `runs`.

    clips: folder of the drawn clips.
    streams: annotations of the held-out streams.
    """
    test = {name: on_test(run, clips, recipe.test_episodes) for name, run in runs.items()}
    gains = tuple(_gain(test, of, over, shot) for of, over in COMPARED for shot in SHOTS)
    watched = {name: on_streams(runs[name], clips, streams, recipe) for name in WATCHED}
    return Figures(test, gains, watched)


def on_streams(run: Run, clips: Path, streams: Path, recipe: Recipe) -> dict[str, StreamRecord]:
    """Events and strangers on the held-out streams, by split."""
    config = EvaluationConfig.of(way=WAY, shot=recipe.gallery_shots, galleries=recipe.galleries)
    return {split: evaluate_streams(run, streams, config, clips=clips, split=split) for split in STREAM_SPLITS}


def on_test(run: Run, clips: Path, episodes: int) -> dict[int, Result]:
    """Accuracy on test classes, by shots."""
    model = run.model()
    store = store_for(model, open_folders(clips).split("test"))
    evaluator = Evaluator(model, store, support=Support(run.config.support_names))
    return {shot: evaluator.evaluate(WAY, shot, episodes, 0) for shot in SHOTS}


def _gain(test: Mapping[str, Mapping[int, Result]], of: str, over: str, shot: int) -> Gain:
    a, b = test[of][shot], test[over][shot]
    difference = (np.asarray(a.by_episode) - np.asarray(b.by_episode)) / (a.way * a.queries)
    return Gain(of, over, shot, float(difference.mean()), half_width(difference.astype(np.float64)))
