"""Configuration of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field

from maclip.config.options import Config, option
from maclip.config.training import MAX_ASKED, MAX_SEED, EpisodeConfig


@dataclass(frozen=True)
class GalleryConfig(Config):
    """An evaluation on untrimmed video: how many galleries, and how it is watched."""

    galleries: int = option(20, "With --streams: number of galleries.", minimum=1, maximum=10_000)
    window: float | None = option(
        None,
        "With --streams: seconds of a window; default: 3/4 of the median action.",
        minimum=0.05,
        maximum=86_400,
    )


@dataclass(frozen=True)
class EvaluationConfig(Config):
    """An evaluation on seeded few-shot episodes (docs/method.md, section 6), or on untrimmed video."""

    episodes: int = option(10_000, "Number of episodes.", minimum=1, maximum=MAX_ASKED)
    seed: int = option(0, "Seed of the episodes or galleries.", minimum=0, maximum=MAX_SEED)
    names: str = option(
        "chosen",
        "Class names of support clips: own, none, wrong (the name of another class), or chosen: own or none, whichever "
        "the run's training found better on validation classes.",
        choices=("chosen", "own", "none", "wrong"),
    )
    average: str = option(
        "prototypes",
        "Average shots after the prototype module (prototypes) or before it (features).",
        choices=("prototypes", "features"),
    )
    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
    watching: GalleryConfig = field(default_factory=GalleryConfig)
