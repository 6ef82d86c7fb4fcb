"""Probabilities and losses: text match, metric match, and their fusion (docs/method.md, section 5)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from maclip.layers import MASK_BIAS
from maclip.metrics.cosine import cosines


def text_logits(features: Tensor, text: Tensor, scale: float, *, unit_text: bool = False) -> Tensor:
    """scale * cos(mean over time of features, text): features [B, T, D'], text [C, D'] -> [B, C].

    unit_text: the rows of `text` have length 1, or are zero.
    """
    return scale * cosines(features.mean(1), text, unit=unit_text)


def fuse(
    text_scores: Tensor,
    distances: Tensor,
    has_text: Tensor | None,
    weight: float,
    none: Tensor | None = None,
) -> Tensor:
    """p = a p_Q2T + (1-a) p_Q2S over classes: text logits [B, C], distances [B, C] -> probabilities [B, C].

    has_text: bool [C]; classes with False match by p_Q2S alone (docs/method.md, section 5). p_Q2T is then computed
        among the other classes and redistributes only the probability that p_Q2S gave to them. With all True, or None,
        the result is the paper's sum; with all False it is p_Q2S.
    weight: a.
    none: the distance of "none of these", a scalar. It competes in p_Q2S, and p_Q2T shares out what it leaves, so that
        the probabilities of the classes sum to 1 less that of "none". Default None: one of the classes it is.
    """
    if none is None:
        p_metric = (-distances).softmax(-1)
    else:
        p_metric = with_none(distances, none).softmax(-1)[..., :-1]
        has_text = distances.new_ones(distances.shape[-1]) if has_text is None else has_text
    if has_text is None:
        return weight * text_scores.softmax(-1) + (1 - weight) * p_metric
    named = has_text.to(p_metric.dtype)
    p_text = (text_scores + (1 - named) * MASK_BIAS).softmax(-1) * named
    mass = (p_metric * named).sum(-1, keepdim=True)
    return weight * (mass * p_text + (1 - named) * p_metric) + (1 - weight) * p_metric


def episode_loss(
    support_text: Tensor,
    query_text: Tensor,
    distances: Tensor,
    support_labels: Tensor,
    query_labels: Tensor,
    weight: float,
) -> Tensor:
    """L = a/2 (L_S2T + L_Q2T) + (1-a) L_Q2S, a scalar. KL divergence to a one-hot target is cross-entropy.

    support_text, query_text: `text_logits`, [S, C] and [Q, C].
    distances: of the metric, [Q, C].
    support_labels, query_labels: positions of the classes, int64 [S] and [Q].
    weight: a.
    """
    to_text = F.cross_entropy(support_text, support_labels) + F.cross_entropy(query_text, query_labels)
    return weight / 2 * to_text + (1 - weight) * F.cross_entropy(-distances, query_labels)


def with_none(distances: Tensor, none: Tensor) -> Tensor:
    """Logits with "none of these" as one more class, the last: distances [..., C], a scalar -> [..., C + 1]."""
    return torch.cat([-distances, -none.to(distances.dtype).expand_as(distances[..., :1])], -1)


def open_set_loss(distances: Tensor, labels: Tensor, none: Tensor) -> Tensor:
    """L_open (docs/method.md, section 8): the mean of two cross-entropies with "none of these" as a class, a scalar.

    The first is over queries of a class of the episode, with all classes there. The second is over the same queries
    with their own class taken out, and over queries of no class: the answer is "none".

    distances: of the metric, [Q, C].
    labels: positions of the classes, int64 [Q]; -1 for a query of no class.
    none: the distance of "none of these", a scalar.
    """
    known = labels >= 0
    logits = with_none(distances, none)
    own = F.one_hot(labels.clamp(min=0), logits.shape[-1]).bool() & known[:, None]
    nothing = torch.full_like(labels, distances.shape[-1])
    right = F.cross_entropy(logits[known], labels[known])
    return (right + F.cross_entropy(logits + own.to(logits.dtype) * MASK_BIAS, nothing)) / 2


def mean_by_class(prototypes: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean over the clips of each class: [S, T, D'], labels int64 [S] -> [classes, T, D']. Every class needs a clip."""
    sums = torch.zeros(classes, *prototypes.shape[1:], dtype=prototypes.dtype, device=prototypes.device)
    counts = torch.zeros(classes, dtype=prototypes.dtype, device=prototypes.device)
    counts = counts.index_add(0, labels, torch.ones_like(labels, dtype=prototypes.dtype))
    return sums.index_add(0, labels, prototypes) / counts[:, None, None]
