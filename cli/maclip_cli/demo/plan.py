"""What the demo does, in numbers: everything that is tuned about it stands here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from maclip.runs import TrainConfig
from maclip.world.classes import Family

# What is compared, in the order in which it is shown and in which one adds to the other.
FROZEN, PROTOTYPE_ONLY, FULL = "frozen", "prototype-only", "full"
ROWS = (FROZEN, PROTOTYPE_ONLY, FULL)


@dataclass(frozen=True)
class RowPlan:
    """One row of the comparison: how deep CLIP is adapted, whether there is a TPCM, how both are trained, if at all."""

    name: str
    adapted_depth: int
    prototype_module: bool
    train: TrainConfig | None


@dataclass(frozen=True)
class FamilyPlan:
    """The rows of one family of classes. `fusion_weight` is a in the training loss; for tests it is chosen anew."""

    family: Family
    rows: tuple[RowPlan, ...]
    fusion_weight: float = 0.1

    def row(self, name: str) -> RowPlan:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)


@dataclass(frozen=True)
class DevicePlan:
    """What is enrolled from the first family's test classes, and what happens in the long video.

    `enrolled` and `video` are names of test classes; those of `video` that are not enrolled should come out as
    "unknown". The first `clips` clips of a class are enrolled, the others are recognised.
    """

    enrolled: tuple[str, ...]
    video: tuple[str, ...]
    clips: int = 3
    video_seed: int = 0
    latency_repeats: int = 30


@dataclass(frozen=True)
class Plan:
    """The whole demo. The first family's *full* run is the one that is exported."""

    families: tuple[FamilyPlan, ...]
    device: DevicePlan
    clips: Mapping[str, int] = field(default_factory=lambda: {"train": 16, "val": 12, "test": 12})  # a class, by split
    way: int = 5
    shots: tuple[int, ...] = (1, 5)
    episodes: int = 2000
    evaluation_seed: int = 0
    clips_seed: int = 0


def _rows(alone: int, first: int, joint: int, way: int = 20, depth: int = 1) -> tuple[RowPlan, ...]:
    """Frozen; TPCM alone for `alone` episodes; TPCM for `first` and then everything for `joint` episodes.

    `alone` is set so that both trained rows take about the same time, the shared stem aside: what is compared is
    what to spend it on.
    Most classes of an episode go without their name: of forty classes the names are learnt by heart, and what that
    teaches is wrong for names that were never seen.
    """
    rates = {"prototype_learning_rate": 1e-3, "learning_rate": 3e-4, "weight_decay": 0.05}
    common = {"way": way, "accumulate": 1, "text_dropout": 0.7, "validations": 5, **rates}
    return (
        RowPlan(FROZEN, 0, False, None),
        RowPlan(PROTOTYPE_ONLY, 0, True, TrainConfig(episodes=0, prototype_episodes=alone, **common)),  # type: ignore[arg-type]
        RowPlan(FULL, depth, True, TrainConfig(episodes=joint, prototype_episodes=first, **common)),  # type: ignore[arg-type]
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
