"""Configuration of a training."""

from __future__ import annotations

from dataclasses import dataclass, field

from maclip.config.options import Config, option
from maclip_runtime.errors import MaclipError

MAX_COUNT = 1_000_000_000  # of episodes
MAX_ASKED = 1_000_000  # of episodes of an evaluation, whose answers are kept
MAX_SEED = 2**62


@dataclass(frozen=True)
class EpisodeConfig(Config):
    """The few-shot task of an episode."""

    way: int = option(5, "Classes of an episode.", minimum=2, maximum=10_000)
    shot: int = option(1, "Support clips of a class.", minimum=1, maximum=10_000)
    max_shot: int = option(
        0, "Draw the support clips of each episode from SHOT to this number; 0: always SHOT.", minimum=0, maximum=10_000
    )
    queries: int = option(1, "Query clips of a class.", minimum=1, maximum=10_000)

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.max_shot < self.shot:
            raise MaclipError(
                "option-invalid",
                f"--max-shot is {self.max_shot}, fewer than --shot {self.shot}.",
                "Raise --max-shot, or leave it at 0.",
            )


@dataclass(frozen=True)
class OptimizerConfig(Config):
    """AdamW and its learning rate schedule.

    After the warm-up the learning rate falls towards zero along a cosine. "constant" keeps it constant in the joint
    stage, for use with `patience`.
    """

    learning_rate: float = option(5e-4, "Learning rate of the joint stage.", minimum=0, maximum=10)
    prototype_learning_rate: float = option(5e-4, "Learning rate of the prototype stage.", minimum=0, maximum=10)
    weight_decay: float = option(5e-4, "Weight decay of AdamW.", minimum=0, maximum=10)
    schedule: str = option(
        "cosine", "Learning rate after the warm-up: cosine or constant.", choices=("cosine", "constant")
    )
    warmup: float = option(0.05, "Fraction of a stage in which the learning rate rises.", minimum=0, maximum=1)
    accumulate: int = option(16, "Episodes per update.", minimum=1, maximum=1_000_000)
    gradient_clip: float = option(1.0, "Maximum gradient norm of an update (clipping).", minimum=1e-6, maximum=1e6)


@dataclass(frozen=True)
class CacheConfig(Config):
    """Caches of clips. Stem tokens can be cached if not all blocks are adapted."""

    cache: str = option(
        "auto",
        "Cache of stem tokens: auto (in memory if they fit), stem (in memory), disk or none.",
        choices=("auto", "stem", "disk", "none"),
    )
    stem_views: int = option(
        0,
        "Cached random views of a clip, cropped and mirrored; 0: centre crops of 2T frames.",
        minimum=0,
        maximum=10_000,
    )
    view_frames: int = option(
        0,
        "Random views choose among this many frames of a clip; 0: all. Limits the size of the frame cache.",
        minimum=0,
        maximum=100_000,
    )
    views: int = option(6, "Random views of each clip in the prototype stage.", minimum=1, maximum=1000)


@dataclass(frozen=True)
class StreamConfig(Config):
    """Windows of untrimmed video in the episodes (docs/method.md, section 8)."""

    streams: str = option(
        "none",
        "Windows of untrimmed video as queries: none, stitch (video stitched from DATA's clips), or a file of "
        "annotations in ActivityNet's form.",
    )
    stream_videos: str | None = option(None, "Folder of the annotated videos; default: that of the file.")
    stream_rate: float = option(12.0, "Frames a second that are kept of annotated video.", minimum=0.1, maximum=240)
    window_share: float = option(
        0.7, "Share of an episode's classes that get a window of a stream as a query.", minimum=0, maximum=1
    )
    none_windows: int = option(12, "Windows of no class among an episode's queries.", minimum=0, maximum=10_000)


@dataclass(frozen=True)
class ValidationConfig(Config):
    """Validation during training, and early stopping."""

    validation_episodes: int = option(400, "Episodes per validation.", minimum=1, maximum=MAX_ASKED)
    validations: int = option(10, "Validations per stage.", minimum=1, maximum=1_000_000)
    patience: int = option(
        0,
        "Stop the joint stage after so many validations without a new best; 0: never.",
        minimum=0,
        maximum=1_000_000,
    )


@dataclass(frozen=True)
class TrainConfig(Config):
    """A training in two stages: `prototype_episodes` train the prototype module alone on cached features, then
    `episodes` train everything that is tuned.

    `text_dropout` trains for classes that are enrolled without a name, and against overfitting to the names of training
    classes; the paper has 0. `checkpointing` is gradient checkpointing: the same result with less memory and more time.
    """

    episodes: int = option(1000, "Episodes of the joint stage, which trains everything.", minimum=0, maximum=MAX_COUNT)
    prototype_episodes: int = option(
        0,
        "Episodes of the prototype stage before it, on cached features.",
        minimum=0,
        maximum=MAX_COUNT,
    )
    text_dropout: float = option(
        0.0, "Share of the classes of an episode whose support clips get no name.", minimum=0, maximum=1
    )
    precision: str = option("32", "32, or mixed precision: bf16, or fp16 (CUDA only).", choices=("32", "bf16", "fp16"))
    checkpointing: bool = option(False, "Gradient checkpointing: less memory, more time.")
    seed: int = option(0, "Seed of the episodes and of the initial weights.", minimum=0, maximum=MAX_SEED)
    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    streams: StreamConfig = field(default_factory=StreamConfig)
    caching: CacheConfig = field(default_factory=CacheConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)

    @property
    def never_named(self) -> bool:
        """Whether no support clip ever gets a name: what reads names stays as it was made, at random."""
        return self.text_dropout == 1.0
