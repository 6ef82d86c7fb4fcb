"""The configuration of the demo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from maclip.config import ModelConfig, TrainConfig
from maclip.world.classes import Family

# The compared models in order: each adds to the one before.
FROZEN, PROTOTYPE_ONLY, FULL = "frozen", "prototype-only", "full"
ROWS = (FROZEN, PROTOTYPE_ONLY, FULL)


@dataclass(frozen=True)
class RowPlan:
    """One row of the comparison: its model, and its training (None: not trained)."""

    name: str
    model: ModelConfig
    train: TrainConfig | None


@dataclass(frozen=True)
class FamilyPlan:
    """The rows of one family of classes.

    fusion_weight: a in the training loss. For tests it is chosen on validation classes.
    """

    family: Family
    rows: tuple[RowPlan, ...]
    fusion_weight: float = 0.1

    def row(self, name: str) -> RowPlan:
        """The row `name`."""
        return next(row for row in self.rows if row.name == name)


@dataclass(frozen=True)
class DevicePlan:
    """Enrolment and recognition with the exported bundle, on test classes of the first family.

    enrolled: names of the enrolled classes.
    video: names of the actions of the long video; those not enrolled should be recognised as "unknown".
    clips: enrolled clips of each class, the first ones; the others are classified.
    video_seed: of the long video.
    latency_repeats: of each latency measurement.
    """

    enrolled: tuple[str, ...]
    video: tuple[str, ...]
    clips: int = 3
    video_seed: int = 0
    latency_repeats: int = 30


@dataclass(frozen=True)
class Plan:
    """The whole demo. The *full* run of the first family is exported."""

    families: tuple[FamilyPlan, ...]
    device: DevicePlan
    clips: Mapping[str, int] = field(default_factory=lambda: {"train": 16, "val": 12, "test": 12})  # by split
    way: int = 5
    shots: tuple[int, ...] = (1, 5)
    episodes: int = 2000
    evaluation_seed: int = 0
    clips_seed: int = 0


def _rows(alone: int, first: int, joint: int, way: int = 20, depth: int = 1) -> tuple[RowPlan, ...]:
    """Three rows: frozen; TPCM alone for `alone` episodes; TPCM for `first` and then everything for `joint` episodes.

    `alone` is set so that both trained rows take about the same time without the shared stem cache.
    Text dropout is high: with forty training classes the model overfits to their names, which hurts on unseen names.
    """
    train = TrainConfig.of(
        way=way,
        accumulate=1,
        text_dropout=0.7,
        validations=5,
        prototype_learning_rate=1e-3,
        learning_rate=3e-4,
        weight_decay=0.05,
    )
    head = ModelConfig.of(adapters="none")
    return (
        RowPlan(FROZEN, head.changed(prototype="none"), None),
        RowPlan(PROTOTYPE_ONLY, head, train.changed(episodes=0, prototype_episodes=alone)),
        RowPlan(FULL, ModelConfig.of(adapted_depth=depth), train.changed(episodes=joint, prototype_episodes=first)),
    )


DEMO = Plan(
    families=(
        FamilyPlan("motion", _rows(alone=2200, first=1800, joint=160)),
        FamilyPlan("object-motion", _rows(alone=2200, first=1800, joint=160)),
    ),
    device=DevicePlan(
        enrolled=(
            "moving a shape from left to right",
            "moving a shape from right to left",
            "a shape growing",
            "a shape shrinking",
            "two shapes coming together",
            "two shapes moving apart",
        ),
        video=(
            "moving a shape from left to right",
            "two shapes moving apart",
            "a shape circling clockwise",
            "a shape shrinking",
            "moving a shape from right to left",
            "uncovering a shape",
            "two shapes coming together",
            "a shape growing",
        ),
    ),
)
