"""Few-shot accuracy over seeded episodes, with features computed once per clip (docs/method.md, section 6)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maclip.data.clip_store import ClipStore, Progress
from maclip.data.episodes import EpisodeSampler, Ids
from maclip.evaluation.features import clip_features
from maclip.model.losses import fuse, text_logits
from maclip.model.maclip import MaClip
from maclip_runtime.errors import MaclipError
from maclip_runtime.fleet import HERE, Fleet, Here, in_order

# From p_Q2S alone (0) to p_Q2T alone (1). All are reported; the weight is chosen on validation classes only.
FUSION_WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0)
EPISODES_PER_BATCH = 64
BATCHES_A_SHARE = 8  # of a cluster
Z_95 = 1.96


@dataclass(frozen=True)
class Support:
    """Whether support clips get their class name, and whether shots are averaged before or after TPCM.

    names: "own" (default), "none", or "wrong": each class gets the name of the next one.
    average: "prototypes" (default): mean of the prototypes of single clips (docs/method.md, section 3); "features":
        mean of their features before TPCM.
    """

    names: str = "own"
    average: str = "prototypes"


DEFAULT_SUPPORT = Support()


@dataclass(frozen=True)
class Result:
    """The result of an evaluation.

    way, shot, episodes, seed, queries: of the episodes.
    accuracy, interval: mean accuracy 0..1, and the half-width of its 95 % interval over episodes.
    fusion_weight: a, with which `accuracy` was measured.
    by_fusion_weight: accuracy for several a on the same episodes.
    names: of the classes.
    confusion: [classes, classes], number of queries of the row's class that were classified as the column's.
    by_episode: [episodes], number of correct answers (of way * queries); for paired comparisons.
    support: names and averaging of support clips.
    interval_by_fusion_weight: half-widths of the 95 % intervals of `by_fusion_weight`.
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
    interval_by_fusion_weight: dict[str, float] = field(default_factory=dict)

    @property
    def by_class(self) -> dict[str, float]:
        """Accuracy of each class that had a query."""
        return {
            name: row[place] / sum(row)
            for place, (name, row) in enumerate(zip(self.names, self.confusion, strict=True))
            if sum(row)
        }


@dataclass(frozen=True)
class Outcomes:
    """Scores of the queries of all episodes, before fusion.

    scores: text logits [E, Q, way].
    distances: of the metric, [E, Q, way].
    labels: true positions in the episode, int64 [Q], the same for all episodes.
    classes: indices of the classes of each episode, int64 [E, way].
    none: the model's distance of "none of these", a scalar; None if it has none.
    """

    scores: Tensor
    distances: Tensor
    labels: Tensor
    classes: npt.NDArray[np.int64]
    none: Tensor | None = None

    def correct(self, weight: float) -> Tensor:
        """Whether each query is classified correctly with fusion weight `weight`: bool [E, Q]."""
        return self.answers(weight) == self.labels

    def answers(self, weight: float) -> Tensor:
        """The most probable position of each query with fusion weight `weight`: int64 [E, Q]."""
        return fuse(self.scores, self.distances, None, weight, self.none).argmax(-1)


@dataclass(frozen=True)
class Asked:
    """A batch of episodes: text logits and distances [E, Q, way], and the episodes' classes, int64 [E, way]."""

    scores: Tensor
    distances: Tensor
    classes: Ids


@dataclass(frozen=True)
class Episodes:
    """A job whose shares are batches of numbers of episodes, and whose parts are the scores of a batch.

    singles, queries: of every clip, [clips, T, D']: what it gives to a prototype, and its features as a query.
    scores: text logits of every clip, [clips, classes].
    text: text features of the classes, which prototypes get; None: none.
    average: see `Support`.
    """

    model: MaClip
    sampler: EpisodeSampler
    singles: Tensor
    queries: Tensor
    scores: Tensor
    text: Tensor | None
    average: str

    @torch.no_grad()
    def parts(self, share: Sequence[range], skip: int) -> Iterator[Asked]:
        """The scores of each batch."""
        metric = torch.func.vmap(self.model.metric)
        for numbers in share[skip:]:
            batch = [self.sampler[number] for number in numbers]
            support = torch.from_numpy(np.stack([e.support for e in batch]))  # (E, way * shot)
            query = torch.from_numpy(np.stack([e.query for e in batch]))  # (E, Q)
            ways = torch.from_numpy(np.stack([e.classes for e in batch]))  # (E, way)
            prototypes = self._by_class(self.singles[support].unflatten(1, (ways.shape[1], -1)), ways)
            distances = metric(self.queries[query], prototypes)
            scores = self.scores[query[:, :, None], ways[:, None, :]]
            yield Asked(scores.cpu(), distances.cpu(), ways.numpy())

    def _by_class(self, singles: Tensor, ways: Tensor) -> Tensor:
        """Single clips [E, way, shot, T, D'] of the classes `ways` [E, way] -> class prototypes [E, way, T, D']."""
        mean = singles.mean(2)
        if self.average == "prototypes":
            return mean
        text = None if self.text is None else self.text[ways.to(self.text.device)].flatten(0, 1)
        return self.model.prototypes(mean.flatten(0, 1), text).unflatten(0, mean.shape[:2])


class Evaluator:
    """Computes the features of all clips of a store once, then evaluates any number of episodes on them.

    model: what is evaluated; put in evaluation mode.
    store: the clips. Broken clips that it tolerates are in no episode; `classes` are without them.
    progress: called with (clips done, clips).
    support: names and averaging of support clips.
    fleet: whose workers encode the clips and answer the episodes; default: this process.
    """

    def __init__(
        self,
        model: MaClip,
        store: ClipStore,
        progress: Progress | None = None,
        support: Support = DEFAULT_SUPPORT,
        fleet: Fleet = HERE,
    ) -> None:
        self.model = model
        self._fleet = fleet
        self.support = support
        self._known: dict[tuple[int, ...], Outcomes] = {}
        self.names = tuple(c.name for c in store.classes)
        model.eval()
        with torch.no_grad():
            text = model.encode_names(self.names)
            if support.names == "wrong":
                text = text.roll(-1, 0)
            self._text = None if support.names == "none" else text
            features, query = clip_features(model, store, self._text, progress=progress, fleet=fleet)
            good = torch.from_numpy(store.readable())
            features, query = features[good], query[good]
            own = None if self._text is None else text[torch.from_numpy(store.labels)[good].to(text.device)]
            # Prototypes of single clips, or their features if shots are averaged before TPCM.
            self._singles = model.prototypes(features, own) if support.average == "prototypes" else features
            self.queries = model.prototypes(query)  # [clips, T, D']
            self._scores = text_logits(query, text, model.scale)  # (clips, classes)
            if self._text is None:
                self._scores = torch.zeros_like(self._scores)  # no text match without names
        self.classes = store.broken.readable_classes()
        self.sizes = [len(c.clips) for c in self.classes]

    def outcomes(
        self, way: int, shot: int, episodes: int, seed: int, queries: int = 1, progress: Progress | None = None
    ) -> Outcomes:
        """Scores of seeded episodes. Raises `too-few-clips`, and `answers-not-finite` if the model outputs NaN.

        What the metric gives is kept for the next question about the same episodes; the model's cohort may change.
        """
        sampler = EpisodeSampler(self.sizes, way, shot, queries, seed)
        asked = way, shot, episodes, seed, queries
        if asked not in self._known:
            self._known[asked] = self._outcomes(sampler, episodes, progress)
        plain, cohort = self._known[asked], self.model.cohort
        none = self.model.none_distance
        found = replace(plain, none=None if none is None else none.detach().cpu())
        if cohort is None:
            return found
        with torch.no_grad():
            shifts = cohort.shift(self.model.metric, self.queries).cpu()
        of_queries = torch.from_numpy(np.stack([sampler[number].query for number in range(episodes)]))  # (E, Q)
        return replace(found, distances=plain.distances + shifts[of_queries][..., None])

    def _outcomes(self, sampler: EpisodeSampler, episodes: int, progress: Progress | None) -> Outcomes:
        """The scores by the metric alone, without a cohort and "none of these"."""
        job = Episodes(
            self.model, sampler, self._singles, self.queries, self._scores, self._text, self.support.average
        )  # fmt: skip
        starts = range(0, episodes, EPISODES_PER_BATCH)
        batches = [range(start, min(start + EPISODES_PER_BATCH, episodes)) for start in starts]
        a_share = len(batches) if isinstance(self._fleet, Here) else BATCHES_A_SHARE
        shares = [batches[at : at + a_share] for at in range(0, len(batches), a_share)]
        scores, distances, classes = [], [], []
        for batch, part in zip(batches, in_order(self._fleet, job, shares), strict=True):
            scores.append(part.scores)
            distances.append(part.distances)
            classes.append(part.classes)
            if progress:
                progress(batch.stop, episodes)
        labels = torch.from_numpy(sampler[0].labels(sampler[0].query))
        found = Outcomes(torch.cat(scores), torch.cat(distances), labels, np.concatenate(classes))
        if not (found.scores.isfinite().all() and found.distances.isfinite().all()):
            raise MaclipError(  # argmax of NaN is always the first class: a meaningless accuracy
                "answers-not-finite",
                "The model outputs NaN or infinity: its weights are not finite or too large.",
                "Train it again with a lower learning rate.",
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
        """Accuracy over seeded episodes. Raises `too-few-clips` and `answers-not-finite`.

        weight: fusion weight a; default: the model's.
        """
        outcomes = self.outcomes(way, shot, episodes, seed, queries, progress=progress)
        weight = self.model.config.text.fusion_weight if weight is None else weight
        if self._text is None:
            weight = 0.0
        correct = outcomes.correct(weight)
        accuracy, interval = mean_interval(correct)
        measured = {f"{w:g}": mean_interval(outcomes.correct(w)) for w in FUSION_WEIGHTS}
        by_weight = {w: mean for w, (mean, _) in measured.items()}
        confusion = _confusion(outcomes, weight, len(self.names))
        return Result(
            way, shot, episodes, seed, accuracy, interval, weight, by_weight, self.names, confusion,
            tuple(correct.sum(-1).tolist()), queries, self.support, {w: half for w, (_, half) in measured.items()},
        )  # fmt: skip


def mean_interval(correct: Tensor) -> tuple[float, float]:
    """Mean accuracy of bool [E, Q] and the half-width of its 95 % interval over episodes."""
    each = correct.double().mean(-1)
    return float(each.mean()), half_width(each.cpu().numpy())


def half_width(values: npt.NDArray[np.float64]) -> float:
    """Half-width of the 95 % interval of the mean of `values` [n]: accuracies in 0..1 or their differences.

    For one value, which has no spread, it is 1: the whole range.
    """
    return Z_95 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 1.0


def _confusion(outcomes: Outcomes, weight: float, classes: int) -> tuple[tuple[int, ...], ...]:
    answers = outcomes.answers(weight).numpy()
    rows = np.arange(len(answers))[:, None]
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (outcomes.classes[:, outcomes.labels.numpy()], outcomes.classes[rows, answers]), 1)
    return tuple(tuple(int(n) for n in row) for row in counts)
