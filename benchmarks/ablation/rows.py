"""The rows of the ablation: which model each is, how it is trained, and how it is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace

from maclip.evaluation import DEFAULT_SUPPORT, Support
from maclip.model import ModelConfig
from maclip.run import TrainConfig

WAY = 5  # classes of a training episode, as in the paper; 12 cost 2.4 times the time
PROTOTYPE_EPISODES = 10_000
JOINT_EPISODES = 12_000  # at most: a training ends when validation has not risen PATIENCE times
VALIDATIONS = 24
PATIENCE = 8
TRAIN = TrainConfig(
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
# What begins from nothing takes the larger rate, what adjusts a TPCM that works the smaller (method.md section 9).
JOINT = replace(TRAIN, episodes=JOINT_EPISODES, patience=PATIENCE, schedule="constant")
FROM_NOTHING = replace(JOINT, prototype_episodes=0, learning_rate=1e-3)
TUNE_ALL = replace(FROM_NOTHING, learning_rate=1e-4)
FULL_MODEL = ModelConfig(adapted_depth=1, fusion_weight=0.1)


@dataclass(frozen=True)
class Row:
    """A line of the table. `train` None: frozen. `uses`: the row whose training this one only asks otherwise."""

    name: str
    title: str
    model: ModelConfig
    train: TrainConfig | None
    support: Support = DEFAULT_SUPPORT
    uses: str | None = None


FULL = Row("both", "TPCM and adapters (the method), K = 1, OTAM", FULL_MODEL, JOINT)
# In the order in which they are computed: what the method's own claims rest on comes first.
ROWS = (
    Row("frozen-mean", "frozen CLIP, mean features", ModelConfig(8, 0, False, "mean"), None),
    Row("frozen-otam", "frozen CLIP, OTAM", ModelConfig(8, 0, False), None),
    Row("tpcm", "TPCM only", replace(FULL_MODEL, adapted_depth=0), TRAIN),
    Row(
        "fsar-head",
        "CLIP-FSAR's head on frozen CLIP",
        replace(FULL_MODEL, adapted_depth=0, prototype="clip-fsar"),
        TRAIN,
    ),
    FULL,
    Row("wrong-names", "both, support clips told wrong names", FULL_MODEL, None, Support("wrong"), "both"),
    Row("no-names", "both, asked without names", FULL_MODEL, None, Support("none"), "both"),
    Row("mean-before", "both, shots averaged before TPCM", FULL_MODEL, None, Support("own", "features"), "both"),
    Row("adapters", "adapters only", replace(FULL_MODEL, prototype_module=False), FROM_NOTHING),
    Row(
        "no-text", "both, trained and asked without text", FULL_MODEL, replace(JOINT, text_dropout=1.0), Support("none")
    ),
    Row("bimhm", "both, Bi-MHM", replace(FULL_MODEL, metric="bimhm"), JOINT),
    Row("trx", "both, TRX", replace(FULL_MODEL, metric="trx"), JOINT),
    Row("k2", "both, K = 2", replace(FULL_MODEL, adapted_depth=2), JOINT),
    Row("k3", "both, K = 3", replace(FULL_MODEL, adapted_depth=3), JOINT),
    Row("k-all", "both, K = all (the paper)", replace(FULL_MODEL, adapted_depth=None), JOINT),
    Row(
        "full-tuning",
        "full fine-tuning, OTAM",
        ModelConfig(8, 0, False, "otam", 0.1, tuned="all"),
        TUNE_ALL,
    ),
    Row(
        "fsar",
        "CLIP-FSAR: its head, the visual encoder tuned",
        ModelConfig(8, 0, True, "otam", 0.1, tuned="all", prototype="clip-fsar"),
        TUNE_ALL,
    ),
)


def find_row(name: str) -> Row:
    """The row called `name`."""
    return next(row for row in ROWS if row.name == name)
