"""The rows of the ablation: the model of each, how it is trained, and how it is tested."""

from __future__ import annotations

from dataclasses import dataclass

from maclip.config import ModelConfig, TrainConfig
from maclip.evaluation.evaluator import DEFAULT_SUPPORT, Support
from maclip_runtime.errors import MaclipError

WAY = 5  # classes of a training episode, as in the paper; 12 cost 2.4 times the time
# Cheap, and validation rises that long. With fewer, the joint stage would bring only more training of TPCM.
PROTOTYPE_EPISODES = 30_000
JOINT_EPISODES = 10_000  # the learning curves show whether validation was still rising
VALIDATIONS = 24
PATIENCE = 8  # validations without a new best after which accuracy no longer rises
TRAIN = TrainConfig.of(
    way=WAY,
    episodes=0,
    prototype_episodes=PROTOTYPE_EPISODES,
    accumulate=1,
    prototype_learning_rate=1e-3,
    learning_rate=3e-4,
    weight_decay=0.05,
    text_dropout=0.7,
    validations=VALIDATIONS,
    validation_episodes=1000,
)
# What begins from nothing takes the larger rate, what adjusts a TPCM that works the smaller.
JOINT = TRAIN.changed(episodes=JOINT_EPISODES)
ON_HEAD = JOINT.changed(prototype_episodes=0)  # starts with the trained head of another row
FROM_NOTHING = ON_HEAD.changed(learning_rate=1e-3)
TUNE_ALL = ON_HEAD.changed(learning_rate=1e-4)  # lower still for the whole encoder
# Cached stems are of centre crops. Rows that train every block decode their clips each time and see random crops,
# mirrored where the class allows it. These rows show how much the heads alone gain from such crops.
RANDOM_VIEWS = TRAIN.changed(cache="none", views=16)
# A row that trains one block sees as many crops of a clip as its cached stem holds views.
ON_HEAD_CROPS = ON_HEAD.changed(stem_views=8)
FULL_MODEL = ModelConfig.of(adapters="blocks", adapted_depth=1, fusion_weight=0.1)
TPCM_ALONE = ModelConfig.of(adapters="none", fusion_weight=0.1)
FROZEN = ModelConfig.of(adapters="none", prototype="none")
FSAR_HEAD = TPCM_ALONE.changed(prototype="clip-fsar")
ALL_ADAPTED = FULL_MODEL.changed(adapted_depth=None)


@dataclass(frozen=True)
class Row:
    """A line of the table.

    `train`: its training; None for none of its own.
    `support`: how its support clips are tested.
    `uses`: the row whose trained model this row tests in another way.
    `weight`: the text weight a of the test; None chooses it on validation classes.
    `begins`: the row whose trained head its training starts with.
    """

    name: str
    title: str
    model: ModelConfig
    train: TrainConfig | None
    support: Support = DEFAULT_SUPPORT
    uses: str | None = None
    weight: float | None = None
    begins: str | None = None

    @property
    def trained(self) -> bool:
        """Whether its model is trained, by its own training or another row's."""
        return self.train is not None or self.uses is not None

    @property
    def random_crops(self) -> bool:
        """Whether its training sees random crops; a cached stem without `stem_views` has centre crops only."""
        adapters = self.model.adapters
        every_block = (adapters.kind != "none" and adapters.depth is None) or self.model.tune == "all"
        if self.train is None:
            return False
        return every_block or self.train.caching.cache == "none" or self.train.caching.stem_views > 0


FULL = Row("both", "TPCM and adapters (the method), K = 1, OTAM", FULL_MODEL, ON_HEAD, begins="tpcm")
# In the order of computation: rows that the method's own claims need come first.
ROWS = (
    Row("frozen-mean", "frozen CLIP, mean features", FROZEN.changed(metric="mean"), None),
    Row("frozen-otam", "frozen CLIP, OTAM", FROZEN, None),
    Row("tpcm", "TPCM only", TPCM_ALONE, TRAIN),
    Row("fsar-head", "CLIP-FSAR's head on frozen CLIP", FSAR_HEAD, TRAIN),
    FULL,
    Row("wrong-names", "both, support clips told wrong names", FULL_MODEL, None, Support("wrong"), "both"),
    Row("no-names", "both, asked without names", FULL_MODEL, None, Support("none"), "both"),
    Row("mean-before", "both, shots averaged before TPCM", FULL_MODEL, None, Support("own", "features"), "both"),
    Row("adapters", "adapters only", FULL_MODEL.changed(prototype="none"), FROM_NOTHING),
    Row(
        "tpcm-no-text",
        "TPCM only, trained and asked without text",
        TPCM_ALONE,
        TRAIN.changed(text_dropout=1.0),
        Support("none"),
    ),
    Row(
        "no-text",
        "both, trained and asked without text",
        FULL_MODEL,
        ON_HEAD.changed(text_dropout=1.0),
        Support("none"),
        begins="tpcm-no-text",
    ),
    Row("bimhm", "both, Bi-MHM", FULL_MODEL.changed(metric="bimhm"), ON_HEAD, begins="tpcm-bimhm"),
    Row("trx", "both, TRX", FULL_MODEL.changed(metric="trx"), ON_HEAD, begins="tpcm-trx"),
    Row("k2", "both, K = 2", FULL_MODEL.changed(adapted_depth=2), ON_HEAD, begins="tpcm"),
    Row("k3", "both, K = 3", FULL_MODEL.changed(adapted_depth=3), ON_HEAD, begins="tpcm"),
    Row("k-all", "both, K = all (the paper)", ALL_ADAPTED, ON_HEAD, begins="tpcm"),
    Row(
        "full-tuning",
        "full fine-tuning, OTAM",
        FROZEN.changed(fusion_weight=0.1, tune="all"),
        TUNE_ALL,
    ),
    Row(
        "fsar",
        "CLIP-FSAR: its head, the visual encoder tuned",
        FSAR_HEAD.changed(tune="all"),
        TUNE_ALL,
        begins="fsar-head",
    ),
    # No support clip is used: 1-shot and 5-shot differ only by the query clips.
    Row("zero-shot", "zero-shot CLIP, by names alone", FROZEN.changed(metric="mean"), None, weight=1.0),
    Row(
        "no-token",
        "both, no text token in the adapted block",
        FULL_MODEL.changed(text_token=False),
        ON_HEAD,
        begins="tpcm",
    ),
    # A trained TPCM leaves little for adapters in other blocks: do they bring more when all start together?
    Row("k-all-anew", "both, K = all, together from nothing", ALL_ADAPTED, FROM_NOTHING),
    # Names that say nothing only cost accuracy: these rows compare the parts by what they see alone.
    Row("tpcm-no-names", "TPCM only, asked without names", TPCM_ALONE, None, Support("none"), "tpcm"),
    Row("fsar-no-names", "CLIP-FSAR's head, asked without names", FSAR_HEAD, None, Support("none"), "fsar-head"),
    Row("k-all-no-names", "both, K = all, asked without names", ALL_ADAPTED, None, Support("none"), "k-all"),
    Row(
        "anew-no-names",
        "both, K = all from nothing, asked without names",
        ALL_ADAPTED,
        None,
        Support("none"),
        "k-all-anew",
    ),
    Row("tpcm-crops", "TPCM only, random crops", TPCM_ALONE, RANDOM_VIEWS),
    Row("both-crops", "both, K = 1, random crops", FULL_MODEL, ON_HEAD_CROPS, begins="tpcm-crops"),
    Row("fsar-crops", "CLIP-FSAR's head, random crops", FSAR_HEAD, RANDOM_VIEWS),
    Row(
        "tpcm-crops-no-names",
        "TPCM only, random crops, asked without names",
        TPCM_ALONE,
        None,
        Support("none"),
        "tpcm-crops",
    ),
    Row(
        "fsar-crops-no-names",
        "CLIP-FSAR's head, random crops, asked without names",
        FSAR_HEAD,
        None,
        Support("none"),
        "fsar-crops",
    ),
    # The parts of the method under other metrics. There is no frozen TRX: untrained, it is a random projection.
    Row("frozen-bimhm", "frozen CLIP, Bi-MHM", FROZEN.changed(metric="bimhm"), None),
    Row("tpcm-bimhm", "TPCM only, Bi-MHM", TPCM_ALONE.changed(metric="bimhm"), TRAIN),
    Row(
        "adapters-bimhm",
        "adapters only, Bi-MHM",
        FULL_MODEL.changed(prototype="none", metric="bimhm"),
        FROM_NOTHING,
    ),
    Row("tpcm-trx", "TPCM only, TRX", TPCM_ALONE.changed(metric="trx"), TRAIN),
    Row(
        "adapters-trx",
        "adapters only, TRX",
        FULL_MODEL.changed(prototype="none", metric="trx"),
        FROM_NOTHING,
    ),
    Row(
        "adapters-all",
        "adapters only, K = all (the paper)",
        ALL_ADAPTED.changed(prototype="none"),
        FROM_NOTHING,
    ),
    Row(
        "adapters-all-no-names",
        "adapters only, K = all, asked without names",
        ALL_ADAPTED.changed(prototype="none"),
        None,
        Support("none"),
        "adapters-all",
    ),
)

# In reading order: nothing, the parts, text, depth and shots, baselines, other metrics.
_READ = """
    frozen-mean frozen-otam zero-shot  tpcm tpcm-crops adapters both both-crops  no-token no-text tpcm-no-text
    wrong-names no-names tpcm-no-names tpcm-crops-no-names fsar-no-names fsar-crops-no-names k-all-no-names
    anew-no-names adapters-all-no-names  k2 k3 k-all k-all-anew adapters-all mean-before
    fsar-head fsar-crops fsar full-tuning  frozen-bimhm tpcm-bimhm adapters-bimhm bimhm tpcm-trx adapters-trx trx
"""


def find_row(name: str) -> Row:
    """The row called `name`. Raises `option-invalid`."""
    for row in ROWS:
        if row.name == name:
            return row
    raise MaclipError(
        "option-invalid", f"The ablation has no row {name!r}.", f"Choose of: {', '.join(row.name for row in ROWS)}."
    )


SHOWN = tuple(find_row(name) for name in _READ.split())
