"""What can be chosen of a training."""

from __future__ import annotations

from dataclasses import dataclass, field

from maclip.config.options import Config, option

MAX_COUNT = 1_000_000_000  # episodes; more is a slip of the hand
MAX_SEED = 2**62


@dataclass(frozen=True)
class EpisodeConfig(Config):
    """The few-shot task of an episode."""

    way: int = option(5, "Classes an episode.", minimum=2, maximum=10_000)
    shot: int = option(1, "Support clips a class.", minimum=1, maximum=10_000)
    queries: int = option(1, "Query clips a class.", minimum=1, maximum=10_000)


@dataclass(frozen=True)
class OptimizerConfig(Config):
    """AdamW and its schedule.

    After the warm-up the learning rate falls to zero as a cosine; "constant" keeps it in the joint stage, which suits a
    training that `patience` ends.
    """

    learning_rate: float = option(5e-4, "Learning rate of the joint stage.", minimum=0, maximum=10)
    prototype_learning_rate: float = option(
        5e-4, "Learning rate of the stage that trains the prototype module alone.", minimum=0, maximum=10
    )
    weight_decay: float = option(5e-4, "Weight decay of AdamW.", minimum=0, maximum=10)
    schedule: str = option(
        "cosine", "Learning rate after the warm-up, cosine or constant.", choices=("cosine", "constant")
    )
    warmup: float = option(0.05, "Share of a stage in which the learning rate rises.", minimum=0, maximum=1)
    accumulate: int = option(16, "Episodes an update.", minimum=1, maximum=1_000_000)
    gradient_clip: float = option(
        1.0, "Largest norm of an update's gradient; larger ones are scaled down.", minimum=1e-6, maximum=1e6
    )


@dataclass(frozen=True)
class CacheConfig(Config):
    """What is computed once for a clip and kept. Stem tokens can be cached where fewer than all blocks are adapted."""

    cache: str = option(
        "auto",
        "Stem tokens: auto, stem (in memory), disk or none. auto: in memory while they fit.",
        choices=("auto", "stem", "disk", "none"),
    )
    stem_views: int = option(
        0,
        "Cached random views of a clip, cropped and mirrored; 0: the centre crops of 2T frames.",
        minimum=0,
        maximum=10_000,
    )
    view_frames: int = option(
        0,
        "Random views choose among this many frames of a clip, 0: all. Bounds the frame cache.",
        minimum=0,
        maximum=100_000,
    )
    views: int = option(
        6, "Random views of each clip whose features the prototype stage learns from.", minimum=1, maximum=10_000
    )


@dataclass(frozen=True)
class ValidationConfig(Config):
    """How often validation classes are tried, and when they end the training."""

    validation_episodes: int = option(400, "Episodes of a validation.", minimum=1, maximum=MAX_COUNT)
    validations: int = option(10, "Validations in each stage.", minimum=1, maximum=1_000_000)
    patience: int = option(
        0, "Validations without a new best that end the joint stage; 0: never.", minimum=0, maximum=1_000_000
    )


@dataclass(frozen=True)
class TrainConfig(Config):
    """A training in two stages: `prototype_episodes` train the prototype module alone on cached features, then
    `episodes` train everything that is tuned.

    `text_dropout` teaches what to do with classes that are enrolled without a name, and keeps the names of the training
    classes from being learnt by heart; 0 is the paper. `checkpointing` computes blocks again for the gradients: the
    same numbers for less memory and more time.
    """

    episodes: int = option(1000, "Episodes of the joint stage, which trains everything.", minimum=0, maximum=MAX_COUNT)
    prototype_episodes: int = option(
        0, "Episodes before it that train the prototype module alone, on cached features.", minimum=0, maximum=MAX_COUNT
    )
    text_dropout: float = option(
        0.0, "Share of an episode's classes whose support clips go without their name.", minimum=0, maximum=1
    )
    precision: str = option("32", "32, or mixed: bf16, or fp16 on CUDA.", choices=("32", "bf16", "fp16"))
    checkpointing: bool = option(False, "Less memory for more time: compute blocks again for the gradients.")
    seed: int = option(0, "Seed of the episodes and of the initial weights.", minimum=0, maximum=MAX_SEED)
    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    caching: CacheConfig = field(default_factory=CacheConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
