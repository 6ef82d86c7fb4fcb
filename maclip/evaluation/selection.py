"""What is chosen on validation classes, never on test classes: the fusion weight and the limit."""

from __future__ import annotations

import math

import torch

from maclip.evaluation.evaluator import FUSION_WEIGHTS, Outcomes, Result
from maclip_runtime.bundle.manifest import Limit


def choose_fusion_weight(result: Result) -> float:
    """The weight a with the best accuracy in `result`, the smallest of equals; p_Q2T alone (1) is no candidate."""
    candidates = [w for w in FUSION_WEIGHTS if w < 1]
    return max(candidates, key=lambda w: (result.by_fusion_weight[f"{w:g}"], -w))


def choose_limit(outcomes: Outcomes, measured_on: str) -> Limit:
    """The distance beyond which a clip is called unknown, balanced between the two errors.

    Known: a query's distance to its nearest class. Stranger: the same query when its own class is taken out of the
    episode. The limit is the one that maximises accepted known + refused strangers.
    """
    known = outcomes.distances.amin(-1).flatten()
    own = torch.nn.functional.one_hot(outcomes.labels, outcomes.distances.shape[-1]).bool()
    stranger = outcomes.distances.masked_fill(own, math.inf).amin(-1).flatten()
    candidates = torch.quantile(torch.cat([known, stranger]).double(), torch.linspace(0.01, 0.99, 197).double())
    accepted = (known[None] <= candidates[:, None]).double().mean(1)
    refused = (stranger[None] > candidates[:, None]).double().mean(1)
    best = int((accepted + refused).argmax())
    words = f"{measured_on}: accepts {accepted[best]:.0%} of known clips, refuses {refused[best]:.0%} of strangers"
    return Limit(float(candidates[best]), words)
