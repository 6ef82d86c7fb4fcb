"""How the shipped runs are trained: the only place with their settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from maclip.config import ModelConfig, TrainConfig
from maclip.shipped import ADAPTERS_ONLY, FULL, LADDER, PROTOTYPE_ONLY

STREAMS = "streams/annotations.json"  # of the training streams, in the folder of `maclip.shipped.train`


@dataclass(frozen=True)
class RunPlan:
    """One training: its name, its model and training, and the name of the earlier run that it begins with."""

    name: str
    model: ModelConfig
    train: TrainConfig
    init: str | None = None


@dataclass(frozen=True)
class Recipe:
    """Everything that the shipped runs depend on, and how they are measured.

    runs: the trainings in order. Those named in `maclip.shipped.SHIPPED` are packed.
    clips: of a class, by split.
    clips_seed: of the clips.
    streams: untrimmed videos of the training motions, with `actions` each, drawn with `streams_seed`.
    held_out: untrimmed videos of each of the other two splits, drawn with `held_out_seed`: validation streams decide
        which run the demo exports, test streams are only measured.
    test_episodes: of each evaluation on test classes, 5-way.
    galleries: of each evaluation on streams, 5-way with `gallery_shots` clips.
    """

    runs: tuple[RunPlan, ...]
    clips: Mapping[str, int] = field(default_factory=lambda: {"train": 40, "val": 20, "test": 20})
    clips_seed: int = 0
    streams: int = 46
    actions: int = 20
    streams_seed: int = 900
    held_out: int = 8
    held_out_seed: int = 0
    test_episodes: int = 10_000
    galleries: int = 20
    gallery_shots: int = 3


MODEL = ModelConfig.of(fusion_weight=0.1, open_set_weight=0.5)
TRAIN = TrainConfig.of(
    max_shot=5, accumulate=1, text_dropout=0.7, weight_decay=0.05, streams=STREAMS, validations=8,
    validation_episodes=1000,
)  # fmt: skip

RECIPE = Recipe(
    runs=(
        RunPlan(
            PROTOTYPE_ONLY,
            MODEL.changed(adapters="none"),
            TRAIN.changed(
                way=16, episodes=0, prototype_episodes=12_000, prototype_learning_rate=1e-3, views=8,
                validation_episodes=2000,
            ),
        ),
        RunPlan(
            FULL,
            MODEL.changed(adapters="blocks", adapted_depth=1),
            TRAIN.changed(way=12, episodes=4000, learning_rate=3e-4),
            init=PROTOTYPE_ONLY,
        ),
        RunPlan(
            ADAPTERS_ONLY,
            MODEL.changed(adapters="blocks", adapted_depth=1, prototype="none"),
            TRAIN.changed(way=12, episodes=3000),
        ),
        RunPlan(
            LADDER,
            MODEL.changed(adapters="ladder"),
            TRAIN.changed(way=12, max_shot=1, episodes=8000, learning_rate=1e-3, prototype_learning_rate=5e-4),
            init=PROTOTYPE_ONLY,
        ),
    ),
)  # fmt: skip
