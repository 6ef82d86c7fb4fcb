"""One step of training: an episode's loss and gradients, and the update that several of them make."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from maclip.model.losses import episode_loss, mean_by_class, text_logits
from maclip.model.maclip import MaClip
from maclip.training.distributed import Team
from maclip.training.episode_loader import Drawn, Feed, Views
from maclip_runtime.errors import MaclipError

GRADIENT_NORM_LIMIT = 1.0


class Learner:
    """Learns `stage` from the episodes of `feed`; `text` [classes, D'] are its classes' names as features."""

    def __init__(
        self, model: MaClip, feed: Feed, text: Tensor, team: Team, stage: str, parameters: list[nn.Parameter]
    ) -> None:
        self.model, self.feed, self.text, self.team, self.stage = model, feed, text, team, stage
        self.parameters = parameters
        config = feed.config
        self.peak = config.prototype_learning_rate if stage == "prototype" else config.learning_rate
        self.optimizer = torch.optim.AdamW(parameters, lr=self.peak, weight_decay=config.weight_decay)
        # Steps with fp16's loss scale.
        self._stepper = cast(torch.optim.Optimizer, team.fabric.setup_optimizers(self.optimizer))
        self._learnt: tuple[Drawn, Views | None] | None = None

    @property
    def scaler(self) -> dict[str, float]:
        """The state of fp16's loss scale; empty with other precisions."""
        return self.team.fabric.strategy.precision.state_dict()

    @scaler.setter
    def scaler(self, state: dict[str, float]) -> None:
        self.team.fabric.strategy.precision.load_state_dict(state)

    def learn(self, drawn: Drawn, views: Views | None = None) -> tuple[float, float]:
        """Add an episode's gradients; returns its loss and accuracy (0..1). Raises `loss-not-finite`."""
        torch.manual_seed(drawn.seed)  # dropout too depends on the episode alone
        with self.team.fabric.autocast():
            loss, accuracy = self._loss(drawn, views)
        value = loss.item()
        if not math.isfinite(value):
            raise self._not_finite(f"The loss of {self.stage} episode {drawn.at} is {value}.", drawn)
        self.team.fabric.backward(loss / self.feed.config.accumulate)
        self._learnt = drawn, views
        return value, accuracy

    @torch.no_grad()
    def is_sound(self) -> bool:
        """Whether an episode that had a loss when it was learnt still has one: else the updates since spoilt it all."""
        if self._learnt is None:
            return True
        with self.team.fabric.autocast():
            loss, _ = self._loss(*self._learnt)
        return bool(loss.isfinite())

    def update(self, episodes: range, rate: float) -> None:
        """One clipped step with learning rate `rate` on the gradients of all processes. Raises `loss-not-finite`."""
        self.team.add_gradients(self.parameters)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        norm = self.team.fabric.clip_gradients(
            self.model, self._stepper, max_norm=GRADIENT_NORM_LIMIT, error_if_nonfinite=False
        )
        # With a loss scale such gradients are usual: the step is left out and the scale lowered.
        if norm is not None and not norm.isfinite() and not self.scaler:
            first = self.feed.draw(self.stage, episodes[0], load=False)
            what = f"The gradients of {self.stage} episodes {episodes[0]} to {episodes[-1]} are not finite."
            raise self.team.known(self._not_finite(f"{what} The first of them:", first))
        self._stepper.step()
        self.optimizer.zero_grad()

    def _loss(self, drawn: Drawn, views: Views | None) -> tuple[Tensor, float]:
        episode, model = drawn.episode, self.model
        ways = self.text[torch.from_numpy(episode.classes)]
        support_labels, query_labels = (
            torch.from_numpy(episode.labels(ids)).to(ways.device) for ids in (episode.support, episode.query)
        )
        told = torch.rand(len(ways)) >= self.feed.config.text_dropout
        named = told.to(ways.device)[support_labels]
        if drawn.loaded is None:
            assert views is not None
            support, query = views.choose(drawn, named, self.feed.rng(self.stage, drawn.at))
        else:
            support, query = self._encode(drawn.loaded, ways[support_labels], named)
        singles = model.prototypes(support, ways[support_labels], named)
        prototypes = mean_by_class(singles, support_labels, len(ways))
        distances, probabilities = model.match(query, prototypes, ways)
        loss = episode_loss(
            text_logits(support, ways, model.scale),
            text_logits(query, ways, model.scale),
            distances,
            support_labels,
            query_labels,
            model.config.fusion_weight,
        )
        return loss, float((probabilities.argmax(-1) == query_labels).float().mean())

    def _encode(self, loaded: Tensor, own: Tensor, named: Tensor) -> tuple[Tensor, Tensor]:
        """Support clips, those that are `named` with their class's text `own` [S, D'], then queries, in one pass."""
        shots, queries = len(named), len(loaded) - len(named)
        text = torch.cat([own, own.new_zeros(queries, own.shape[1])])
        has_text = torch.cat([named, named.new_zeros(queries)])
        features = self.feed.store.encode(loaded, text, has_text)
        return features[:shots], features[shots:]

    def _not_finite(self, what: str, drawn: Drawn) -> MaclipError:
        return MaclipError(
            "loss-not-finite",
            f"{what} {self.feed.name(drawn.episode)}",
            "The last good state is kept. Look at these clips, or train anew with a lower learning rate for that part.",
        )
