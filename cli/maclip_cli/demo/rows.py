"""Train and evaluate the compared models on unseen classes: frozen CLIP, the brief trainings, and the shipped runs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maclip.backbones.loading import load_backbone
from maclip.config import Machine, ModelConfig, TrainConfig
from maclip.data.clip_store import ClipStore
from maclip.data.dataset import open_folders
from maclip.evaluation.evaluator import DEFAULT_SUPPORT, Evaluator, Result, Support, half_width
from maclip.evaluation.features import store_for
from maclip.evaluation.selection import choose_fusion_weight
from maclip.model.maclip import MaClip
from maclip.runs import METRICS_FILE, Run
from maclip.shipped import ADAPTERS_ONLY, FULL, LADDER, PROTOTYPE_ONLY, shipped_run
from maclip.training.api import train_new
from maclip.training.callbacks import Callbacks
from maclip.training.choosing import CHOOSING_EPISODES, VALIDATION_SEED, VALIDATION_WAY
from maclip_cli.demo.folder import DemoFolder
from maclip_cli.demo.plan import BRIEF, FROZEN, ORIGINS, READY, Plan, row_name

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
    """The outcome of one row.

    results: on test classes, by shot.
    validation: accuracy on validation classes at the end of the training; of frozen CLIP, without any.
    curve: the validations during the training; empty for rows that were not trained here.
    training_s: seconds of the training here.
    """

    name: str
    results: dict[int, Result]
    validation: float
    curve: tuple[Validation, ...] = ()
    training_s: float = 0.0


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


class RowCallbacks(Callbacks):
    """Callbacks of a training, and of the start of a row."""

    def begin(self, row: str) -> None:
        """The following callbacks belong to `row`."""


def run_rows(plan: Plan, folder: DemoFolder, rows: tuple[str, ...], callbacks: RowCallbacks) -> list[RowOutcome]:
    """Train, where they are brief trainings, and evaluate `rows` in order.

    Raises `adapters-untrained` for a row with adapters that training has not changed.
    """
    stores: tuple[ClipStore, ...] = ()  # their stem tokens are shared by the trainings
    outcomes = []
    for name in rows:
        callbacks.begin(name)
        origin, _, part = name.partition("-")
        if name == FROZEN:
            outcomes.append(_frozen(plan, folder, callbacks))
        elif origin == READY:
            outcomes.append(_evaluate(plan, folder, name, _adapted(Run.open(shipped_run(part)), part), callbacks))
        else:
            outcome, stores = _train(plan, folder, part, stores, callbacks)
            outcomes.append(outcome)
    return outcomes


def differences(rows: Mapping[str, RowOutcome]) -> tuple[Difference, ...]:
    """What each part brings, by origin; what the ladder brings, and the longer training of the shipped full run."""
    pairs = [
        pair
        for origin in ORIGINS
        for pair in (
            (row_name(origin, PROTOTYPE_ONLY), FROZEN),
            (row_name(origin, ADAPTERS_ONLY), FROZEN),
            (row_name(origin, FULL), row_name(origin, PROTOTYPE_ONLY)),
            (row_name(origin, FULL), row_name(origin, ADAPTERS_ONLY)),
        )
    ]
    pairs += [(row_name(READY, LADDER), row_name(READY, part)) for part in (PROTOTYPE_ONLY, FULL)]
    pairs.append((row_name(READY, FULL), row_name(BRIEF, FULL)))
    return tuple(_difference(rows, row, than, shot) for row, than in pairs for shot in rows[row].results)


def read_curve(metrics: Path, config: TrainConfig) -> tuple[Validation, ...]:
    """The validations in `metrics.jsonl` of a run, with episodes counted over both stages."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    before = {"prototype": 0, "joint": config.prototype_episodes}
    return tuple(
        Validation(line["stage"], line["episode"] + before[line["stage"]], line["validation"], line["interval"])
        for line in lines
        if "validation" in line
    )


def _train(
    plan: Plan, folder: DemoFolder, part: str, stores: tuple[ClipStore, ...], callbacks: RowCallbacks
) -> tuple[RowOutcome, tuple[ClipStore, ...]]:
    brief = next(one for one in plan.brief if one.part == part)
    begun = time.monotonic()
    path = folder.brief_run(part)
    trainer = train_new(
        folder.motion_clips, path, BACKBONE, BACKBONE, brief.model, brief.train,
        machine=Machine(device="cpu"), callbacks=callbacks, reuse=stores,
        init=folder.brief_run(brief.init) if brief.init else None,
    )  # fmt: skip
    training_s = time.monotonic() - begun
    run = _adapted(Run.open(path), part)
    curve = read_curve(path / METRICS_FILE, brief.train)
    outcome = _evaluate(plan, folder, row_name(BRIEF, part), run, callbacks, curve=curve, training_s=training_s)
    return outcome, (*stores, *trainer.stores)


def _adapted(run: Run, part: str) -> Run:
    """`run`, if its adapters are trained or it is to have none."""
    if part != PROTOTYPE_ONLY:
        run.require_trained_adapters()
    return run


def _evaluate(
    plan: Plan,
    folder: DemoFolder,
    name: str,
    run: Run,
    callbacks: RowCallbacks,
    *,
    curve: tuple[Validation, ...] = (),
    training_s: float = 0.0,
) -> RowOutcome:
    model = run.model()
    chosen = run.config.chosen
    support = Support(run.config.support_names)
    results = _results(plan, folder, model, model.config.text.fusion_weight, callbacks, support)
    return RowOutcome(name, results, chosen.accuracy if chosen else 0.0, curve, training_s)


def _frozen(plan: Plan, folder: DemoFolder, callbacks: RowCallbacks) -> RowOutcome:
    model = MaClip(load_backbone(BACKBONE, BACKBONE), ModelConfig.of(adapters="none", prototype="none"))
    held_out = open_folders(folder.motion_clips).split("val")
    evaluator = Evaluator(model, store_for(model, held_out), callbacks.progress("validation clips"))
    chosen = evaluator.evaluate(VALIDATION_WAY, 1, CHOOSING_EPISODES, VALIDATION_SEED + 1)
    weight = choose_fusion_weight(chosen)  # as training chooses it
    results = _results(plan, folder, model, weight, callbacks)
    return RowOutcome(FROZEN, results, chosen.by_fusion_weight[f"{weight:g}"])


def _results(
    plan: Plan,
    folder: DemoFolder,
    model: MaClip,
    weight: float,
    callbacks: RowCallbacks,
    support: Support = DEFAULT_SUPPORT,
) -> dict[int, Result]:
    test = open_folders(folder.motion_clips).split("test")
    evaluator = Evaluator(model, store_for(model, test), callbacks.progress("test clips"), support)
    results = {
        shot: evaluator.evaluate(plan.way, shot, plan.episodes, plan.evaluation_seed, weight=weight)
        for shot in plan.shots
    }
    callbacks.note(", ".join(f"{shot}-shot {r.accuracy:.1%} ± {r.interval * 100:.1f}" for shot, r in results.items()))
    return results


def _difference(rows: Mapping[str, RowOutcome], row: str, than: str, shot: int) -> Difference:
    a, b = rows[row].results[shot], rows[than].results[shot]
    each = (np.asarray(a.by_episode, np.float64) - np.asarray(b.by_episode, np.float64)) / (a.way * a.queries)
    return Difference(row, than, shot, float(each.mean()), half_width(each))
