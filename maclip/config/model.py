"""Configuration of a model, except its backbone."""

from __future__ import annotations

from dataclasses import dataclass, field

from maclip.config.options import Config, option

MAX_FRAMES = 512  # of a clip
NONE = "none"  # kind of adapters or prototype module: do without
# Of adapters in the blocks alone, by name; a ladder has those of `LadderConfig`.
BLOCK_OPTIONS = ("adapted_depth", "adapter_width", "joint_scale", "adapter_init_std", "inner_skip")


@dataclass(frozen=True)
class LadderConfig(Config):
    """The side network of `--adapters ladder` (docs/method.md, section 11)."""

    width: int | None = option(
        None,
        "Width d of the ladder; default: a third of the tower's, half of a tower narrower than 512.",
        name="ladder_width",
        minimum=4,
        maximum=65_536,
    )
    temporal: tuple[int, ...] = option(
        (),
        "A temporal layer of the ladder, from 1; repeat for more. Default: the 7th, 9th and 11th of 12, or in "
        "proportion.",
        flag="--ladder-temporal",
        name="ladder_temporal",
    )


@dataclass(frozen=True)
class AdapterConfig(Config):
    """The adapters of the frozen image tower (docs/method.md, sections 2 and 11)."""

    kind: str = option(
        "ladder", "Adapters of the image tower: ladder (a side network), blocks (the paper) or none.", name="adapters"
    )
    depth: int | None = option(
        None,
        "With blocks: adapt the last K; default: all, as in the paper.",
        name="adapted_depth",
        minimum=0,
        maximum=1000,
    )
    width: float = option(
        0.25,
        "Bottleneck width of an adapter, as a fraction of the tower's width.",
        name="adapter_width",
        minimum=0.001,
        maximum=4,
    )
    joint_scale: float = option(0.5, "Scale s of the joint adapter.", minimum=0, maximum=100)
    init_std: float = option(
        0.02, "Standard deviation of the initial down-projections.", name="adapter_init_std", minimum=1e-6, maximum=1
    )
    text_init_std: float = option(
        0.02, "Standard deviation of the initial projection of the text token.", minimum=0, maximum=1
    )
    inner_skip: bool = option(True, "Skip connection around the multimodal adapter.")
    text_token: bool = option(
        True, "Text token in the adapted blocks or the ladder; the prototype module keeps its text."
    )
    ladder: LadderConfig = field(default_factory=LadderConfig)


@dataclass(frozen=True)
class PrototypeConfig(Config):
    """The prototype module (docs/method.md, section 3)."""

    kind: str = option(
        "tpcm", "Prototype module: tpcm (the paper), transformer or clip-fsar (baselines), or none.", name="prototype"
    )
    heads: int = option(8, "Attention heads of the prototype module.", name="prototype_heads", minimum=1, maximum=1024)
    dropout: float = option(0.1, "Dropout of the prototype module.", name="prototype_dropout", minimum=0, maximum=0.99)
    text_length: str = option(
        "unit",
        "Text feature in the prototype module: unit (normalised) or raw (as CLIP computes it).",
        name="prototype_text",
        choices=("unit", "raw"),
    )


@dataclass(frozen=True)
class MetricConfig(Config):
    """The distance between a query and a prototype (docs/method.md, section 4)."""

    kind: str = option("otam", "Metric: otam, bimhm, mean, trx or trx-triples.", name="metric")
    softmin_lambda: float = option(0.5, "Lambda of OTAM's soft-min.", minimum=0.001, maximum=100)
    open_set_weight: float = option(
        0.0, "Weight lambda of the loss that learns the distance of 'none of these'; 0: none.", minimum=0, maximum=1
    )
    none_distance: float = option(8.0, "Distance of 'none of these' before training.", minimum=-1000, maximum=1000)
    cohort_weight: float = option(
        0.5,
        "Weight of the distance to training classes, which is taken from all distances of a query if strangers are "
        "then told better on validation classes; 0: never.",
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True)
class TextConfig(Config):
    """Prompts of class names, and the weight of the text match (docs/method.md, sections 2 and 5)."""

    templates: tuple[str, ...] = option(
        ("a photo of {}",), "Prompt with {} for the name; features of several are averaged.", flag="--template"
    )
    fusion_weight: float = option(0.4, "Weight a of the text match in loss and prediction.", minimum=0, maximum=1)
    logit_scale: float | None = option(
        None, "Scale of the text logits; default: CLIP's own.", minimum=0.001, maximum=10_000
    )


@dataclass(frozen=True)
class ModelConfig(Config):
    """A model, except its backbone.

    By default its adapters are a ladder (ours); `adapters="blocks"` gives the paper's. Other defaults are those of the
    paper, or ours where the paper gives none.
    """

    frames: int = option(8, "Frames of a clip (T).", minimum=2, maximum=MAX_FRAMES)
    tune: str = option(
        "adapters",
        "What is trained in the image tower: adapters, or all weights (a baseline).",
        choices=("adapters", "all"),
    )
    adapters: AdapterConfig = field(default_factory=AdapterConfig)
    prototype: PrototypeConfig = field(default_factory=PrototypeConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)
    text: TextConfig = field(default_factory=TextConfig)
