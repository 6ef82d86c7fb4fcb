"""The training step: from a batch to its loss (docs/method.md, section 5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from maclip.model.losses import episode_loss, mean_by_class, open_set_loss, text_logits
from maclip.model.maclip import MaClip
from maclip.training.episode_loader import Batch


@dataclass(frozen=True)
class TrainStep:
    """Computes the loss of a batch.

    text_dropout: share of its classes whose support clips get no text; default 0.
    """

    text_dropout: float = 0.0

    def __call__(self, model: MaClip, batch: Batch) -> tuple[Tensor, float]:
        """The loss of `batch`, a scalar with gradients, and its accuracy (0..1)."""
        support_labels, query_labels = batch.support_labels, batch.query_labels
        kept = torch.rand(len(batch.text)) >= self.text_dropout
        has_text = kept.to(batch.text.device)[support_labels]  # (S,)
        support, query = _features(model, batch, has_text)
        singles = model.prototypes(support, batch.text[support_labels], has_text)
        prototypes = mean_by_class(singles, support_labels, len(batch.text))
        distances, probabilities = model.match(query, prototypes, batch.text)
        known = query_labels >= 0
        loss = episode_loss(
            text_logits(support, batch.text, model.scale),
            text_logits(query[known], batch.text, model.scale),
            distances[known],
            support_labels,
            query_labels[known],
            model.config.text.fusion_weight,
        )
        if model.none_distance is not None:
            share = model.config.metric.open_set_weight
            loss = (1 - share) * loss + share * open_set_loss(distances, query_labels, model.none_distance)
        return loss, float((probabilities.argmax(-1) == query_labels)[known].float().mean())


def _features(model: MaClip, batch: Batch, has_text: Tensor) -> tuple[Tensor, Tensor]:
    """Features of the support clips, with text where `has_text` [S], and of the query clips: [S, T, D'], [Q, T, D']."""
    if batch.features is not None:
        found = batch.features
        return torch.where(has_text[:, None, None], found.with_text, found.without_text), found.query
    assert batch.clips is not None
    own = batch.text[batch.support_labels]
    shots, queries = len(own), len(batch.clips) - len(own)
    text = torch.cat([own, own.new_zeros(queries, own.shape[1])])
    features = model.encode(batch.clips, text, torch.cat([has_text, has_text.new_zeros(queries)]))
    return features[:shots], features[shots:]
