"""Choose the fusion weight and the limit on validation classes, never on test classes."""

from __future__ import annotations

import math

import torch

from maclip.evaluation.evaluator import FUSION_WEIGHTS, Outcomes, Result
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
    own = torch.nn.functional.one_hot(outcomes.labels, outcomes.distances.shape[-1]).bool()
    unknown = outcomes.distances.masked_fill(own, math.inf).amin(-1).flatten()
    both = torch.cat([known, unknown]).double()
    chosen = torch.quantile(both, torch.linspace(0.01, 0.99, 197).double())
    candidates = chosen if learned is None else chosen.new_tensor([learned])
    accepted = (known[None] <= candidates[:, None]).double().mean(1)
    rejected = (unknown[None] > candidates[:, None]).double().mean(1)
    best = int((accepted + rejected).argmax())
    how = "" if learned is None else "learned in training; "
    shares = f"accepts {accepted[best]:.0%} of known clips, rejects {rejected[best]:.0%} of unknown clips"
    words = f"{how}{measured_on}: {shares}"
    return Limit(float(candidates[best]), words, learned is not None)
