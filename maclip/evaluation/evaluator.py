"""Few-shot accuracy over many seeded episodes, from features computed once per clip (docs/method.md, section 6)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maclip.data.clip_store import ClipStore, Progress
from maclip.data.episodes import EpisodeSampler
from maclip.evaluation.features import clip_features
from maclip.model.losses import fuse, text_logits
from maclip.model.maclip import MaClip
from maclip_runtime.errors import MaclipError

# p_Q2S alone, the paper's sum at several weights, p_Q2T alone: shown side by side, chosen on validation only.
FUSION_WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0)
NAMES = ("own", "none", "wrong")
AVERAGES = ("prototypes", "features")
EPISODES_AT_ONCE = 64
Z_95 = 1.96


@dataclass(frozen=True)
class Support:
    """What support clips are told, and where the shots of a class become one.

    `names`: "own" class's, "none", or "wrong": each class is called as the next one. `average`: the mean is taken
    of single clips' "prototypes" (docs/method.md, section 3), or of their "features" before TPCM.
    """

    names: str = "own"
    average: str = "prototypes"


DEFAULT_SUPPORT = Support()


@dataclass(frozen=True)
class Result:
    """Accuracy 0..1 over `episodes`, `interval` the half-width of its 95 % interval.

    `by_fusion_weight` gives the accuracy for other weights a on the same episodes; `confusion` [classes,
    classes] counts queries of the row's class that were answered as the column's, over all episodes.
    `by_episode` [episodes] counts each episode's right answers of its way * `queries`: two results on the same
    episodes are compared by it. `support` says what the support clips were told and how shots were averaged.
    """

    way: int
    shot: int
    episodes: int
    seed: int
    accuracy: float
    interval: float
    fusion_weight: float
    by_fusion_weight: dict[str, float]
    names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    by_episode: tuple[int, ...] = ()
    queries: int = 1
    support: Support = DEFAULT_SUPPORT

    @property
    def by_class(self) -> dict[str, float]:
        """Accuracy by class, of the classes that were asked for."""
        return {
            name: row[place] / sum(row)
            for place, (name, row) in enumerate(zip(self.names, self.confusion, strict=True))
            if sum(row)
        }


@dataclass(frozen=True)
class Outcomes:
    """What the episodes of an evaluation gave, before any fusion weight is chosen.

    `scores` (text logits) and `distances` are [E, Q, way], `labels` [Q] positions in the episode, `classes`
    int64 [E, way].
    """

    scores: Tensor
    distances: Tensor
    labels: Tensor
    classes: npt.NDArray[np.int64]

    def correct(self, weight: float) -> Tensor:
        """Whether each query is answered rightly with fusion weight `weight`: bool [E, Q]."""
        return self.answers(weight) == self.labels

    def answers(self, weight: float) -> Tensor:
        """The most probable position in its episode for each query: int64 [E, Q]."""
        return fuse(self.scores, self.distances, None, weight).argmax(-1)


class Evaluator:
    """Holds the features of some classes' clips, so that any number of episodes costs only the matching.

    Clips that the store found broken and lets pass are in no episode: `classes` are what is left.
    """

    def __init__(
        self, model: MaClip, store: ClipStore, progress: Progress | None = None, support: Support = DEFAULT_SUPPORT
    ) -> None:
        self.model = model
        self.support = support
        self.names = tuple(c.name for c in store.classes)
        model.eval()
        with torch.no_grad():
            text = model.encode_names(self.names)
            if support.names == "wrong":
                text = text.roll(-1, 0)
            self._text = None if support.names == "none" else text
            features, query = clip_features(model, store, self._text, progress=progress)
            good = torch.from_numpy(store.readable())
            features, query = features[good], query[good]
            own = None if self._text is None else text[torch.from_numpy(store.labels)[good].to(text.device)]
            # Single clips: their prototypes, or their features where the mean comes first.
            self._singles = model.prototypes(features, own) if support.average == "prototypes" else features
            self._queries = model.prototypes(query)
            self._scores = text_logits(query, text, model.scale)  # (clips, classes)
            if self._text is None:
                self._scores = torch.zeros_like(self._scores)  # no names, no vote
        self.classes = store.broken.readable_classes()
        self.sizes = [len(c.clips) for c in self.classes]

    @torch.no_grad()
    def outcomes(
        self, way: int, shot: int, episodes: int, seed: int, queries: int = 1, progress: Progress | None = None
    ) -> Outcomes:
        """Run seeded episodes. Raises `too-few-clips`, and `answers-not-finite` where the model is broken."""
        sampler = EpisodeSampler(self.sizes, way, shot, queries, seed)
        metric = torch.func.vmap(self.model.metric)
        scores, distances, classes = [], [], []
        labels = torch.from_numpy(sampler[0].labels(sampler[0].query))
        for start in range(0, episodes, EPISODES_AT_ONCE):
            batch = [sampler[i] for i in range(start, min(start + EPISODES_AT_ONCE, episodes))]
            support = torch.from_numpy(np.stack([e.support for e in batch]))  # (E, way * shot)
            query = torch.from_numpy(np.stack([e.query for e in batch]))  # (E, Q)
            ways = torch.from_numpy(np.stack([e.classes for e in batch]))  # (E, way)
            prototypes = self._by_class(self._singles[support].unflatten(1, (way, shot)), ways)
            distances.append(metric(self._queries[query], prototypes))
            scores.append(self._scores[query[:, :, None], ways[:, None, :]])
            classes.append(ways.numpy())
            if progress:
                progress(start + len(batch), episodes)
        found = Outcomes(torch.cat(scores).cpu(), torch.cat(distances).cpu(), labels, np.concatenate(classes))
        if not (found.scores.isfinite().all() and found.distances.isfinite().all()):
            raise MaclipError(  # the most probable of such answers is always the first: an accuracy by chance
                "answers-not-finite",
                "The model's answers are not numbers: its weights are none, or so large that nothing can be computed.",
                "Train it anew with a lower learning rate.",
            )
        return found

    def evaluate(
        self,
        way: int,
        shot: int,
        episodes: int,
        seed: int,
        weight: float | None = None,
        progress: Progress | None = None,
        queries: int = 1,
    ) -> Result:
        """Accuracy with the model's fusion weight, or `weight`. Raises `too-few-clips`."""
        outcomes = self.outcomes(way, shot, episodes, seed, queries, progress=progress)
        weight = self.model.config.text.fusion_weight if weight is None else weight
        if self._text is None:
            weight = 0.0
        correct = outcomes.correct(weight)
        accuracy, interval = mean_interval(correct)
        by_weight = {f"{w:g}": float(outcomes.correct(w).float().mean()) for w in FUSION_WEIGHTS}
        confusion = _confusion(outcomes, weight, len(self.names))
        return Result(
            way, shot, episodes, seed, accuracy, interval, weight, by_weight, self.names, confusion,
            tuple(correct.sum(-1).tolist()), queries, self.support,
        )  # fmt: skip

    def _by_class(self, singles: Tensor, ways: Tensor) -> Tensor:
        """Single clips [E, way, shot, T, D'] of classes [E, way] -> prototypes of the classes [E, way, T, D']."""
        mean = singles.mean(2)
        if self.support.average == "prototypes":
            return mean
        text = None if self._text is None else self._text[ways.to(self._text.device)].flatten(0, 1)
        return self.model.prototypes(mean.flatten(0, 1), text).unflatten(0, mean.shape[:2])


def mean_interval(correct: Tensor) -> tuple[float, float]:
    """Mean accuracy of bool [E, Q] and the half-width of its 95 % interval over episodes."""
    each = correct.double().mean(-1)
    return float(each.mean()), half_width(each.cpu().numpy())


def half_width(figures: npt.NDArray[np.float64]) -> float:
    """Half of the 95 % interval of the mean of `figures` [n], shares in 0..1 or differences of such.

    One figure has no spread and says nothing: then it is 1, the whole range.
    """
    return Z_95 * float(figures.std(ddof=1)) / math.sqrt(len(figures)) if len(figures) > 1 else 1.0


def _confusion(outcomes: Outcomes, weight: float, classes: int) -> tuple[tuple[int, ...], ...]:
    answers = outcomes.answers(weight).numpy()
    rows = np.arange(len(answers))[:, None]
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (outcomes.classes[:, outcomes.labels.numpy()], outcomes.classes[rows, answers]), 1)
    return tuple(tuple(int(n) for n in row) for row in counts)
