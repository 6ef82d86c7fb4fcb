"""Choose the fusion weight and the limit on validation classes, never on test classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from maclip.evaluation.evaluator import FUSION_WEIGHTS, Outcomes, Result
from maclip.evaluation.streams.open_set import auroc
from maclip_runtime.bundle.manifest import Limit


def choose_fusion_weight(result: Result) -> float:
    """The weight a with the best accuracy in `result`, the smallest in a tie; p_Q2T alone (1) is excluded."""
    candidates = [w for w in FUSION_WEIGHTS if w < 1]
    return max(candidates, key=lambda w: (result.by_fusion_weight[f"{w:g}"], -w))


def choose_limit(outcomes: Outcomes, measured_on: str, learned: float | None = None) -> Limit:
    """The limit: the distance above which an answer is "unknown".

    A known clip is a query with its distance to the nearest class. The same query without its own class in the episode
    is an unknown clip. The limit maximises the share of known clips accepted plus the share of unknown clips rejected.

    measured_on: description of classes and episodes, for the limit's own description.
    learned: the distance of "none of these" that training learned, which then is the limit; default None.
    """
    known = outcomes.distances.amin(-1).flatten()
    unknown = _without_own(outcomes).amin(-1).flatten()
    both = torch.cat([known, unknown]).double()
    chosen = torch.quantile(both, torch.linspace(0.01, 0.99, 197).double())
    candidates = chosen if learned is None else chosen.new_tensor([learned])
    accepted = (known[None] <= candidates[:, None]).double().mean(1)
    rejected = (unknown[None] > candidates[:, None]).double().mean(1)
    best = int((accepted + rejected).argmax())
    how = "" if learned is None else "learned in training, balanced after it; "
    shares = f"accepts {accepted[best]:.0%} of known clips, rejects {rejected[best]:.0%} of unknown clips"
    words = f"{how}{measured_on}: {shares}"
    return Limit(float(candidates[best]), words, learned is not None)


def stranger_auroc(outcomes: Outcomes) -> float:
    """How well the distance to the nearest class tells queries without their own class (strangers) from the others."""
    known, strangers = outcomes.distances.amin(-1), _without_own(outcomes).amin(-1)
    return auroc(*(np.asarray(one.flatten().cpu().numpy(), np.float64) for one in (known, strangers)))


def balance_none(several: Sequence[Outcomes]) -> float:
    """The distance of "none of these" with which L_open (docs/method.md, section 8) is smallest on `several` outcomes.

    There the mean probability of "none" for known clips equals that of some class for strangers; the first falls with
    the distance and the second rises, so halving an interval finds it.
    """
    sums = []  # of e^-distance over the classes, as a logarithm
    for outcomes in several:
        sums.append([(-one.double()).logsumexp(-1).flatten() for one in (outcomes.distances, _without_own(outcomes))])
    low = -float(max(one.max() for pair in sums for one in pair))
    high = -float(min(one.min() for pair in sums for one in pair))
    for _ in range(60):
        middle = (low + high) / 2
        lost = sum(float(torch.sigmoid(-middle - known).mean()) for known, _ in sums)
        passed = sum(float(torch.sigmoid(strangers + middle).mean()) for _, strangers in sums)
        low, high = (middle, high) if lost > passed else (low, middle)
    return (low + high) / 2


def _without_own(outcomes: Outcomes) -> Tensor:
    """The distances with infinity for the query's own class: the same query as a clip of no class of the episode."""
    own = torch.nn.functional.one_hot(outcomes.labels, outcomes.distances.shape[-1]).bool()
    return outcomes.distances.masked_fill(own, math.inf)
