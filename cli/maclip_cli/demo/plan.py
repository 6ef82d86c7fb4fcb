"""The configuration of the demo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from maclip.config import ModelConfig, TrainConfig
from maclip.shipped import ADAPTERS_ONLY, FULL, PROTOTYPE_ONLY, SHIPPED
from maclip.world.classes import Family

FAMILY: Family = "motion"
FROZEN = "frozen"
PARTS = SHIPPED  # the trained models, in the order of tables
BRIEF_PARTS = (PROTOTYPE_ONLY, ADAPTERS_ONLY, FULL)  # those trained in front of the user: a ladder takes an hour
# Where a model comes from: trained in front of the user, or shipped in the package.
BRIEF, READY = "brief", "shipped"
ORIGINS = (BRIEF, READY)


def row_name(origin: str, part: str) -> str:
    """The name of a row: of one origin and one of `PARTS`."""
    return f"{origin}-{part}"


ROWS = (
    FROZEN, *(row_name(BRIEF, part) for part in BRIEF_PARTS), *(row_name(READY, part) for part in PARTS),
)  # fmt: skip


@dataclass(frozen=True)
class BriefPlan:
    """A training in front of the user.

    part: what is trained, one of `BRIEF_PARTS`.
    init: the part that it begins with, trained before; None: it begins with nothing.
    """

    part: str
    model: ModelConfig
    train: TrainConfig
    init: str | None = None


@dataclass(frozen=True)
class DevicePlan:
    """Enrolment and recognition with the exported bundle, on test classes.

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
    """The whole demo.

    brief: the trainings, in an order in which each comes after that it begins with.
    clips: of a class, by split. Only the simple motions are drawn.
    way, shots, episodes, evaluation_seed: of the evaluations on test classes.
    """

    brief: tuple[BriefPlan, ...]
    device: DevicePlan
    clips: Mapping[str, int] = field(default_factory=lambda: {"train": 16, "val": 12, "test": 12})
    way: int = 5
    shots: tuple[int, ...] = (1, 5)
    episodes: int = 2000
    evaluation_seed: int = 0
    clips_seed: int = 0


def _brief(prototype: int, joint: int, adapters: int) -> tuple[BriefPlan, ...]:
    """TPCM for `prototype` episodes; everything for `joint` more; and adapters alone for `adapters` episodes.

    Text dropout is high: with forty training classes the model overfits to their names, which hurts on unseen names.
    """
    model = ModelConfig.of(fusion_weight=0.1, open_set_weight=0.5)
    adapted = model.changed(adapters="blocks", adapted_depth=1)
    train = TrainConfig.of(
        way=20,
        accumulate=1,
        text_dropout=0.7,
        validations=5,
        prototype_learning_rate=1e-3,
        learning_rate=3e-4,
        weight_decay=0.05,
    )
    together = train.changed(prototype_episodes=0)
    return (
        BriefPlan(
            PROTOTYPE_ONLY, model.changed(adapters="none"), train.changed(episodes=0, prototype_episodes=prototype)
        ),
        BriefPlan(FULL, adapted, together.changed(episodes=joint), init=PROTOTYPE_ONLY),
        BriefPlan(ADAPTERS_ONLY, adapted.changed(prototype="none"), together.changed(episodes=adapters)),
    )


DEMO = Plan(
    brief=_brief(prototype=2000, joint=200, adapters=200),
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
