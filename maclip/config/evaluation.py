"""What can be chosen of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field

from maclip.config.options import Config, option
from maclip.config.training import MAX_COUNT, MAX_SEED, EpisodeConfig


@dataclass(frozen=True)
class EvaluationConfig(Config):
    """Seeded few-shot episodes, and what the support clips of an episode are told (docs/method.md, section 6)."""

    episodes: int = option(10_000, "Episodes.", minimum=1, maximum=MAX_COUNT)
    seed: int = option(0, "Seed of the episodes.", minimum=0, maximum=MAX_SEED)
    names: str = option(
        "own",
        "Name that support clips get: their own, none, or wrong (each class gets another's).",
        choices=("own", "none", "wrong"),
    )
    average: str = option(
        "prototypes",
        "Average the shots of a class after the prototype module (prototypes) or before it (features).",
        choices=("prototypes", "features"),
    )
    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
