"""Train the rows of one family, and evaluate them on unseen classes."""

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
from maclip.data.dataset import Dataset, open_folders
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
    """A validation during training: accuracy and interval (0..1) after `episode` episodes of both stages."""

    stage: str
    episode: int
    accuracy: float
    interval: float


@dataclass(frozen=True)
class RowOutcome:
    """The outcome of one row: `results` on test classes by shot, and the validation `curve` (empty if not trained)."""

    name: str
    results: dict[int, Result]
    curve: tuple[Validation, ...]
    training_s: float


@dataclass(frozen=True)
class Difference:
    """Accuracy of `row` minus that of `than`, paired by episodes, and the half-width of its 95 % interval."""

    row: str
    than: str
    shot: int
    accuracy: float
    interval: float

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero."""
        return abs(self.accuracy) > self.interval


@dataclass(frozen=True)
class FamilyOutcome:
    """All rows of one family, and their paired differences."""

    family: str
    rows: dict[str, RowOutcome]
    differences: tuple[Difference, ...]
    frozen_validation: float  # validation accuracy of the frozen row, where the curves begin

    def difference(self, row: str, than: str, shot: int) -> Difference:
        """The difference of `row` to `than`."""
        return next(d for d in self.differences if (d.row, d.than, d.shot) == (row, than, shot))


class RowCallbacks(Callbacks):
    """Callbacks of a training, and of the start of a row."""

    def begin(self, row: str) -> None:
        """The following callbacks belong to `row`."""


def run_family(
    plan: Plan, family: FamilyPlan, clips: Path, run_of: Callable[[str], Path], callbacks: RowCallbacks
) -> FamilyOutcome:
    """Train and evaluate all rows of `family` on the clips in `clips`.

    run_of: run folder of a row.
    """
    data = open_folders(clips)
    rows: dict[str, RowOutcome] = {}
    correct: dict[tuple[str, int], Tensor] = {}
    frozen_validation = 0.0
    stores: tuple[ClipStore, ...] = ()  # their stem tokens are shared by all rows
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
            task = (plan.way, shot, plan.episodes, plan.evaluation_seed)
            results[shot] = evaluator.evaluate(*task, weight=weight)
            # Again, which is cheap, for the answers of each episode: rows are compared episode by episode.
            correct[row.name, shot] = evaluator.outcomes(*task).correct(weight)
        callbacks.note(_summary(results))
        curve = read_curve(run_of(row.name) / METRICS_FILE, row.train) if row.train is not None else ()
        rows[row.name] = RowOutcome(row.name, results, curve, training_s)
    return FamilyOutcome(family.family, rows, _differences(plan, correct), frozen_validation)


def read_curve(metrics: Path, config: TrainConfig) -> tuple[Validation, ...]:
    """The validations in `metrics.jsonl` of a run, with episodes counted over both stages."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    before = {"prototype": 0, "joint": config.prototype_episodes}
    return tuple(
        Validation(line["stage"], line["episode"] + before[line["stage"]], line["validation"], line["interval"])
        for line in lines
        if "validation" in line
    )


def _choose(model: MaClip, data: Dataset, callbacks: RowCallbacks) -> tuple[float, float]:
    """Fusion weight of an untrained model, chosen on validation classes as in training, and the accuracy with it."""
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
