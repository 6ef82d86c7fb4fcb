"""Gradient accumulation over episodes and processes, and the update of the weights."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import nn

from maclip.model.maclip import MaClip
from maclip.training.distributed import Team
from maclip.training.episode_loader import Batch, EpisodeLoader
from maclip.training.step import TrainStep
from maclip_runtime.errors import MaclipError


class Optimizer:
    """AdamW for one stage.

    model: the model.
    loader: the loader of the batches, for the configuration and for error messages.
    team: processes of the training.
    stage: "prototype" or "joint".
    parameters: parameters of `model` that this stage trains.
    """

    def __init__(
        self, model: MaClip, loader: EpisodeLoader, team: Team, stage: str, parameters: list[nn.Parameter]
    ) -> None:
        self.model, self.loader, self.team, self.stage = model, loader, team, stage
        self.parameters = parameters
        self.config = loader.config.optimizer
        self.step = TrainStep(loader.config.text_dropout)
        self.peak = self.config.prototype_learning_rate if stage == "prototype" else self.config.learning_rate
        # The distance of "none of these" has no reason to be small: no weight decay.
        scalars = [parameter for parameter in parameters if parameter.ndim == 0]
        others = [parameter for parameter in parameters if parameter.ndim]
        groups: list[dict[str, Any]] = [{"params": others}, {"params": scalars, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=self.peak, weight_decay=self.config.weight_decay
        )
        # Applies the gradient scaler (fp16).
        self._stepper = cast(torch.optim.Optimizer, team.fabric.setup_optimizers(self.optimizer))
        self._last: Batch | None = None

    @property
    def scaler(self) -> dict[str, float]:
        """State of the gradient scaler (fp16); empty with other precisions."""
        return self.team.fabric.strategy.precision.state_dict()

    @scaler.setter
    def scaler(self, state: dict[str, float]) -> None:
        self.team.fabric.strategy.precision.load_state_dict(state)

    def accumulate(self, batch: Batch) -> tuple[float, float]:
        """Add the gradients of a batch; returns its loss and accuracy (0..1). Raises `loss-not-finite`."""
        torch.manual_seed(batch.seed)  # dropout depends on the episode alone
        with self.team.fabric.autocast():
            loss, accuracy = self.step(self.model, batch)
        value = loss.item()
        if not math.isfinite(value):
            raise self._not_finite(f"The loss of {self.stage} episode {batch.at} is {value}.", batch.at)
        self.team.fabric.backward(loss / self.config.accumulate)
        self._last = batch
        return value, accuracy

    @torch.no_grad()
    def is_finite(self) -> bool:
        """Whether the loss of the last batch, which was finite, is still finite after the update."""
        if self._last is None:
            return True
        with self.team.fabric.autocast():
            loss, _ = self.step(self.model, self._last)
        return bool(loss.isfinite())

    def update(self, episodes: range, rate: float) -> None:
        """One step with the clipped gradients of all processes and learning rate `rate`. Raises `loss-not-finite`."""
        self.team.add_gradients(self.parameters)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        norm = self.team.fabric.clip_gradients(
            self.model, self._stepper, max_norm=self.config.gradient_clip, error_if_nonfinite=False
        )
        # With a gradient scaler this is normal: it skips the step and lowers the scale.
        if norm is not None and not norm.isfinite() and not self.scaler:
            what = f"The gradients of {self.stage} episodes {episodes[0]} to {episodes[-1]} are not finite."
            raise self.team.known(self._not_finite(f"{what} The first of them:", episodes[0]))
        self._stepper.step()
        self.optimizer.zero_grad()

    def _not_finite(self, what: str, at: int) -> MaclipError:
        return MaclipError(
            "loss-not-finite",
            f"{what} {self.loader.describe(self.loader.episode(self.stage, at))}",
            "The last good checkpoint is kept. Check these clips, or train again with a lower learning rate.",
        )
