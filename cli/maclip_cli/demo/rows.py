"""One family's rows: trained where there is something to train, then tried on classes that training never saw."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

import maclip
from maclip.backbones.loading import load_backbone
from maclip.config import Machine, TrainConfig
from maclip.data.clip_store import ClipStore
from maclip.data.dataset import Dataset, open_data
from maclip.evaluation.evaluator import Evaluator, Result, mean_interval
from maclip.evaluation.features import store_for
from maclip.evaluation.selection import choose_fusion_weight
from maclip.model.maclip import MaClip
from maclip.runs import METRICS_FILE
from maclip.training.api import train_new
from maclip.training.callbacks import Callbacks
from maclip.training.trainer import CHOOSING_EPISODES, VALIDATION_SEED, VALIDATION_WAY
from maclip_cli.demo.plan import FROZEN, FULL, ROWS, FamilyPlan, Plan

BACKBONE = "tiny"


@dataclass(frozen=True)
class Validation:
    """Validation classes tried during a training: after `episode` episodes in all; shares 0..1."""

    stage: str
    episode: int
    accuracy: float
    interval: float


@dataclass(frozen=True)
class RowOutcome:
    """What one row came to: `results` by shot, on the test classes; `curve` is empty where nothing was trained."""

    name: str
    results: dict[int, Result]
    curve: tuple[Validation, ...]
    training_s: float


@dataclass(frozen=True)
class Difference:
    """How much more of the same episodes `row` answers rightly than `than`: share, half-width of its 95 % interval."""

    row: str
    than: str
    shot: int
    accuracy: float
    interval: float

    @property
    def real(self) -> bool:
        """Whether the interval leaves out zero."""
        return abs(self.accuracy) > self.interval


@dataclass(frozen=True)
class FamilyOutcome:
    """All rows of one family, and their differences on the same episodes."""

    family: str
    rows: dict[str, RowOutcome]
    differences: tuple[Difference, ...]
    frozen_validation: float  # accuracy of the frozen row on validation classes, the level the curves begin at

    def difference(self, row: str, than: str, shot: int) -> Difference:
        """The difference of `row` to the row `than`."""
        return next(d for d in self.differences if (d.row, d.than, d.shot) == (row, than, shot))


class RowCallbacks(Callbacks):
    """Callbacks that are told which row begins."""

    def begin(self, row: str) -> None:
        """What follows belongs to `row`."""


def run_family(
    plan: Plan, family: FamilyPlan, clips: Path, run_of: Callable[[str], Path], callbacks: RowCallbacks
) -> FamilyOutcome:
    """Train and try all rows of `family` on the clips in `clips`; `run_of` says where a row's run goes."""
    data = open_data(clips)
    rows: dict[str, RowOutcome] = {}
    correct: dict[tuple[str, int], Tensor] = {}
    frozen_validation = 0.0
    stores: tuple[ClipStore, ...] = ()  # the stem is the same in all rows: computed once
    for row in family.rows:
        callbacks.begin(row.name)
        begun = time.monotonic()
        config = row.model.changed(fusion_weight=family.fusion_weight)
        if row.train is not None:
            run = run_of(row.name)
            trainer = train_new(
                clips, run, BACKBONE, BACKBONE, config, row.train,
                machine=Machine(device="cpu"), callbacks=callbacks, reuse=stores,
            )  # fmt: skip
            stores += trainer.stores
            model = maclip.load(run)
            weight = model.config.text.fusion_weight
            training_s = time.monotonic() - begun
        else:
            model = MaClip(load_backbone(BACKBONE, BACKBONE), config)
            weight, frozen_validation = _choose(model, data, callbacks)
            training_s = 0.0
        evaluator = Evaluator(model, store_for(model, data.split("test")), callbacks.progress("test clips"))
        results = {}
        for shot in plan.shots:
            asked = (plan.way, shot, plan.episodes, plan.evaluation_seed)
            results[shot] = evaluator.evaluate(*asked, weight=weight)
            # Once more, cheaply, for each episode's own answer: rows are compared episode by episode.
            correct[row.name, shot] = evaluator.outcomes(*asked).correct(weight)
        callbacks.note(_summary(results))
        curve = read_curve(run_of(row.name) / METRICS_FILE, row.train) if row.train is not None else ()
        rows[row.name] = RowOutcome(row.name, results, curve, training_s)
    return FamilyOutcome(family.family, rows, _differences(plan, correct), frozen_validation)


def read_curve(metrics: Path, config: TrainConfig) -> tuple[Validation, ...]:
    """The validations in a run's `metrics.jsonl`; the episodes of the two stages are counted on."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    before = {"prototype": 0, "joint": config.prototype_episodes}
    return tuple(
        Validation(line["stage"], line["episode"] + before[line["stage"]], line["validation"], line["interval"])
        for line in lines
        if "validation" in line
    )


def _choose(model: MaClip, data: Dataset, callbacks: RowCallbacks) -> tuple[float, float]:
    """For what is not trained: the fusion weight, chosen as training chooses it, and the accuracy with it."""
    evaluator = Evaluator(model, store_for(model, data.split("val")), callbacks.progress("validation clips"))
    result = evaluator.evaluate(VALIDATION_WAY, 1, CHOOSING_EPISODES, VALIDATION_SEED + 1)
    weight = choose_fusion_weight(result)
    return weight, result.by_fusion_weight[f"{weight:g}"]


def _differences(plan: Plan, correct: dict[tuple[str, int], Tensor]) -> tuple[Difference, ...]:
    pairs = [(row, than) for than, row in itertools.pairwise(ROWS)] + [(FULL, FROZEN)]
    return tuple(
        Difference(row, than, shot, *mean_interval(correct[row, shot].double() - correct[than, shot].double()))
        for row, than in pairs
        for shot in plan.shots
    )


def _summary(results: dict[int, Result]) -> str:
    return ", ".join(f"{shot}-shot {r.accuracy:.1%} ± {r.interval:.1%}" for shot, r in results.items())
