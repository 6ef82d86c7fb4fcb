"""What is chosen once the weights are: cohort, names, fusion weight and limit, on validation classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from maclip.config import TrainConfig
from maclip.data.clip_store import BATCH_FRAMES, ClipStore, Progress
from maclip.data.episodes import Ids
from maclip.evaluation.evaluator import DEFAULT_SUPPORT, Evaluator, Outcomes, Support
from maclip.evaluation.selection import balance_none, choose_fusion_weight, choose_limit, stranger_auroc
from maclip.model.cohort import Cohort
from maclip.model.maclip import MaClip
from maclip.runs import Chosen, CohortChoice, put_none_distance

VALIDATION_SEED = 20_000
VALIDATION_WAY = 5
# More episodes than in each validation.
CHOOSING_EPISODES = 1000
SHOTS = (1, 3, 5)  # of the galleries that people make
COHORT_CLASSES = 256  # at most
COHORT_CLIPS = 3  # of a class


@dataclass(frozen=True)
class Choice:
    """`chosen`, and the accuracy by fusion weight that it rests on."""

    chosen: Chosen
    by_fusion_weight: dict[str, float]


def validation_way(sizes: Sequence[int]) -> int:
    """The way of validation episodes for classes with `sizes` clips: each needs a support and a query clip."""
    return min(VALIDATION_WAY, sum(size >= 2 for size in sizes))


def validation_support(config: TrainConfig) -> Support:
    """Support of validation episodes: without names if the model is never trained with names."""
    return Support("none") if config.never_named else DEFAULT_SUPPORT


def choose(
    model: MaClip, training: ClipStore, validation: ClipStore | None, config: TrainConfig, progress: Progress
) -> Choice | None:
    """Choose on validation classes; without them only a limit, on training classes. None with less than two classes.

    model: with its final weights; it is given the cohort and the distance of "none of these" that are chosen.
    """
    store, where = (validation, "validation") if validation is not None else (training, "training")
    evaluator = Evaluator(model, store, progress, validation_support(config))
    way = validation_way(evaluator.sizes)
    if way < 2:
        return None
    words = f"{where} classes, {way}-way 1-shot, {CHOOSING_EPISODES} episodes"
    asked = way, 1, CHOOSING_EPISODES, VALIDATION_SEED + 1
    cohort = None
    if validation is not None:
        cohort = _choose_cohort(model, training, evaluator, way)
    result = evaluator.evaluate(*asked)
    names, weight, accuracy = not config.never_named, result.fusion_weight, result.accuracy
    if validation is not None:
        weight = choose_fusion_weight(result)
        accuracy = result.by_fusion_weight[f"{weight:g}"]
    if validation is not None and names:
        unnamed = Evaluator(model, store, progress, Support("none"))
        bare = unnamed.evaluate(*asked)
        if bare.accuracy >= accuracy:
            names, weight, accuracy, evaluator = False, bare.fusion_weight, bare.accuracy, unnamed
    learned = None
    if model.none_distance is not None:
        if validation is not None:
            put_none_distance(model, balance_none(_outcomes(evaluator, way)))
        learned = model.none_distance.item()
    limit = choose_limit(evaluator.outcomes(*asked), words, learned)
    return Choice(Chosen(names, weight, limit, accuracy, words, cohort), result.by_fusion_weight)


def _choose_cohort(model: MaClip, training: ClipStore, evaluator: Evaluator, way: int) -> CohortChoice | None:
    """Give `model` a cohort of training classes if strangers are told better with it, in the mean of `SHOTS`."""
    weight = model.config.metric.cohort_weight
    clips = _of_cohort(training)
    if not weight or not len(clips):
        return None
    before = _aurocs(evaluator, way)
    prototypes = _cohort_prototypes(model, training, clips)
    cohort = Cohort(prototypes, weight)
    with torch.no_grad():
        cohort.typical = float(cohort.distance(model.metric, evaluator.queries).mean())
    model.cohort = cohort
    if _aurocs(evaluator, way) <= before:
        model.cohort = None
        return None
    return CohortChoice(weight, cohort.typical)


def _outcomes(evaluator: Evaluator, way: int) -> list[Outcomes]:
    """Of episodes of each of `SHOTS` that there are clips for."""
    possible = [shot for shot in SHOTS if sum(size > shot for size in evaluator.sizes) >= way]
    return [evaluator.outcomes(way, shot, CHOOSING_EPISODES, VALIDATION_SEED + 1) for shot in possible]


def _aurocs(evaluator: Evaluator, way: int) -> float:
    return float(np.mean([stranger_auroc(one) for one in _outcomes(evaluator, way)]))


def _of_cohort(store: ClipStore) -> Ids:
    """The clips of the cohort, [K, n]: the first n of evenly spaced classes that have so many."""
    readable, count = store.readable(), COHORT_CLIPS
    own = [np.flatnonzero((store.labels == label) & readable) for label in range(len(store.classes))]
    enough = [clips[:count] for clips in own if len(clips) >= count]
    places = sorted({int(at) for at in np.linspace(0, len(enough) - 1, min(len(enough), COHORT_CLASSES))})
    return np.array([enough[at] for at in places], np.int64).reshape(-1, count)


@torch.no_grad()
def _cohort_prototypes(model: MaClip, store: ClipStore, clips: Ids) -> Tensor:
    """Prototypes without names of classes with these clips [K, n]: [K, T, D']; without clips that are broken."""
    size = max(1, BATCH_FRAMES // model.config.frames)
    batches = [clips.reshape(-1)[at : at + size] for at in range(0, clips.size, size)]
    singles = torch.cat([model.prototypes(model.encode(store.load_each(ids))) for ids in batches])
    good = store.readable()[clips]  # now that they were read
    own = singles.unflatten(0, clips.shape)
    return torch.stack([row[torch.from_numpy(kept)].mean(0) for row, kept in zip(own, good, strict=True) if kept.any()])
