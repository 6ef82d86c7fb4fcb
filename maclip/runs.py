"""The run folder: what training leaves, and all that export and evaluation need beside the backbone's weights."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from maclip.backbones.loading import load_backbone
from maclip.data.split_lists import SplitLists
from maclip.model.maclip import MaClip, ModelConfig
from maclip_runtime.bundle.manifest import Backbone, Limit
from maclip_runtime.bundle.schema import from_dict
from maclip_runtime.errors import MaclipError

RUN_FORMAT = 1
CONFIG_FILE = "config.json"
ADAPTERS_FILE = "adapters.safetensors"
METRICS_FILE = "metrics.jsonl"
STATE_DIR = "state"
# What a run that is older than an option meant by not saying it.
OLDER_MEANT: dict[str, dict[str, object]] = {
    "model": {"tuned": "adapters", "prototype": "tpcm", "text_token": True},
    "train": {
        "patience": 0,
        "schedule": "cosine",
        "precision": "32",
        "checkpointing": False,
        "view_frames": 0,
        "stem_views": 0,
    },
}


@dataclass(frozen=True)
class TrainConfig:
    """What is chosen of the training. Episodes are counted one by one; `accumulate` of them make an update.

    `prototype_episodes` come first and train TPCM alone on cached features; then `episodes` train everything.
    Each part has its own learning rate: TPCM begins from nothing, what follows adjusts a model that works.
    `views` cached random samplings of each clip feed that first part. `cache` keeps stem tokens: in memory ("stem"), on
    "disk", or not ("none"); "auto" does where fewer than all blocks are adapted, in memory while they fit.
    `text_dropout` is the share of classes whose support clips go without their name: 0 is the paper; more teaches what
    to do with classes that are enrolled without one, and keeps the names of the training classes from being learnt by
    heart. `patience` validations in a row without a new best end the joint part early; 0 never does. `schedule`: after
    the warm-up the learning rate falls to zero as a "cosine", or in the joint part stays "constant", which suits one
    that ends by itself.
    `precision`: "32", or mixed "bf16" or "fp16" (weights and their updates stay float32). `checkpointing` computes the
    blocks again for the gradients instead of keeping what they made: the same numbers for less memory and more time.
    `view_frames` bounds what random views of a clip are drawn from: that many frames spread over it, 0 for all (the
    paper). `stem_views` random views of each clip, with crops and mirroring, are what a cached stem holds beside the
    centre view; with 0 it holds the centre crops of 2T frames.
    """

    way: int = 5
    shot: int = 1
    queries: int = 1
    episodes: int = 1000
    prototype_episodes: int = 0
    accumulate: int = 16
    learning_rate: float = 5e-4
    prototype_learning_rate: float = 5e-4
    weight_decay: float = 5e-4
    text_dropout: float = 0.0
    warmup: float = 0.05
    views: int = 6
    cache: str = "auto"
    validation_episodes: int = 400
    validations: int = 10
    patience: int = 0
    schedule: str = "cosine"
    precision: str = "32"
    checkpointing: bool = False
    view_frames: int = 0
    stem_views: int = 0
    seed: int = 0


@dataclass(frozen=True)
class ClassNames:
    """The natural names of the classes by split, in the data's order; `other` where the data knows no splits."""

    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    other: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """What was measured on validation classes after training and is used from then on.

    `fusion_weight` a; `limit` the distance beyond which a clip is of no enrolled class; `accuracy` with it,
    5-way 1-shot, 0..1; `measured_on` says in words which classes these come from.
    """

    fusion_weight: float
    limit: Limit | None
    accuracy: float
    measured_on: str


@dataclass(frozen=True)
class Init:
    """The run whose tuned tensors a training began with: its folder, the digests of its adapters and its backbone.

    `taught`: the names of the classes that it was trained on, and of those that it began with knowing.
    """

    run: str
    adapters_sha256: str
    weights_sha256: str
    taught: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunConfig:
    """`config.json`: everything that was chosen.

    `data_sha256` is the digest of the clips' list (`maclip.data.dataset.data_sha256`); None in runs older than it.
    `lists` are the split lists that were used and `init` the run it began with, None for none.
    """

    format: int
    tool_version: str
    backbone: Backbone
    model: ModelConfig
    train: TrainConfig
    data: str
    names: ClassNames
    chosen: Chosen | None = None
    data_sha256: str | None = None
    lists: SplitLists | None = None
    init: Init | None = None

    @property
    def taught(self) -> tuple[str, ...]:
        """The classes whose clips taught the tuned tensors. What a training without splits had, it had all."""
        return (*self.names.train, *self.names.other, *(self.init.taught if self.init else ()))


def read_run(run: Path) -> RunConfig:
    """Read a run's `config.json`. Raises `run-missing` and `run-invalid`."""
    path = run / CONFIG_FILE
    if not path.is_file():
        raise MaclipError(
            "run-missing", f"{run} is not a run: it has no {CONFIG_FILE}.", "Give what maclip train made."
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.get("format") != RUN_FORMAT:
            raise ValueError(f"its format is not {RUN_FORMAT}")
        # What older runs do not say.
        data = {"data_sha256": None, "lists": None, "init": None, **data}
        if isinstance(data["init"], dict):
            data["init"] = {"taught": [], **data["init"]}
        for part, meant in OLDER_MEANT.items():
            if isinstance(data.get(part), dict):
                data[part] = {**meant, **data[part]}
        return from_dict(RunConfig, data)
    except (ValueError, MaclipError) as error:
        what = error.message if isinstance(error, MaclipError) else str(error)
        raise MaclipError(
            "run-invalid", f"{path} cannot be read: {what}", "Train again with this version of maclip."
        ) from error


def write_config(run: Path, config: RunConfig) -> None:
    """Write `config.json` in one step."""
    text = json.dumps(dataclasses.asdict(config), indent=2, ensure_ascii=False) + "\n"
    with replacing(run / CONFIG_FILE) as path:
        path.write_text(text, encoding="utf-8")


def write_adapters(path: Path, model: MaClip) -> None:
    """Write the tuned tensors, float32, in one step."""
    state = {key: value.detach().cpu().float().contiguous() for key, value in model.tuned_state().items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(state))  # `save_file` speaks of a full disk in an error of its own


def load_model(run: Path, pretrained: str | None = None) -> MaClip:
    """The trained model of `run` in evaluation mode. Raises `run-*`, `adapters-*` and the backbone's errors."""
    config = read_run(run)
    backbone = load_backbone(config.backbone.name, pretrained or config.backbone.pretrained)
    if backbone.sha256 != config.backbone.weights_sha256:
        raise MaclipError(
            "weights-changed",
            f"The weights of {config.backbone.name} are not those that {run} was trained on.",
            "Give the same checkpoint, or train again on this one.",
        )
    chosen = config.model
    if config.chosen is not None:
        chosen = dataclasses.replace(chosen, fusion_weight=config.chosen.fusion_weight)
    model = MaClip(backbone, chosen)
    load_adapters(model, run / ADAPTERS_FILE)
    return model.eval()


def load_adapters(model: MaClip, path: Path) -> None:
    """Load tuned tensors into `model`. Raises `adapters-missing` and `adapters-mismatch`."""
    if not path.is_file():
        raise MaclipError("adapters-missing", f"There is no {path}.", "Finish the training: maclip train --resume RUN.")
    try:
        state = load_file(path)
    except Exception as error:
        raise MaclipError("adapters-mismatch", f"{path} is not a safetensors file.", "Train again.") from error
    put_adapters(model, state, path)


def put_adapters(model: MaClip, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy the tuned tensors `state`, which came from `path`, into `model`. Raises `adapters-mismatch`."""
    own = model.tuned_state()
    wrong = sorted(set(own) ^ set(state)) or [key for key in own if own[key].shape != state[key].shape]
    if wrong:
        raise MaclipError(
            "adapters-mismatch",
            f"{path} does not fit the model of its config.json (first at {wrong[0]}).",
            "Use the adapters and the config.json of one run.",
        )
    with torch.no_grad():
        for key, value in own.items():
            value.copy_(state[key])


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when all went well. Raises `output-unwritable`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.chmod(0o644)  # safetensors writes for the owner alone
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut may leave the new name with nothing under it
        os.replace(temporary, path)
    except OSError as error:
        raise MaclipError(
            "output-unwritable",
            f"{path} cannot be written ({error.strerror}).",
            "Free the disk or choose another place.",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
