"""The run folder: what training leaves, and all that export and evaluation need beside the backbone's weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from maclip.backbones.loading import IN_MEMORY, LoadedBackbone, load_backbone
from maclip.config import ModelConfig, TrainConfig
from maclip.data.split_lists import SplitLists
from maclip.model.cohort import Cohort
from maclip.model.maclip import MaClip
from maclip.writing import replacing
from maclip_runtime.bundle.manifest import Backbone, Limit
from maclip_runtime.bundle.schema import from_dict
from maclip_runtime.errors import MaclipError

RUN_FORMAT = 6
CONFIG_FILE = "config.json"
ADAPTERS_FILE = "adapters.safetensors"
COHORT_FILE = "cohort.safetensors"
METRICS_FILE = "metrics.jsonl"
STATE_DIR = "state"
COHORT_KEY = "prototypes"  # in its file
UP_PROJECTION = ".up.weight"  # ends the names of the second weight of each adapter


@dataclass(frozen=True)
class ClassNames:
    """The natural names of the classes by split, in the dataset's order; `other` where it has no splits."""

    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    other: tuple[str, ...] = ()


@dataclass(frozen=True)
class CohortChoice:
    """How the cohort in `cohort.safetensors` counts: see `Cohort` for `weight` and `typical`. Both are finite."""

    weight: float
    typical: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and math.isfinite(self.typical)):
            raise ValueError(f"a cohort has weight {self.weight} and typical distance {self.typical}")


@dataclass(frozen=True)
class Chosen:
    """What was chosen on validation classes after training.

    `names`: whether support clips with their names did better than without; else nothing is to be given names.
    `fusion_weight` a; `limit` the distance beyond which a clip is of no enrolled class, which is that of "none of
    these" where training learned one; `accuracy` with both choices, 5-way 1-shot, 0..1; `measured_on` says in words
    which classes these come from. `cohort`: None where none was made, or strangers were told no better with it.
    """

    names: bool
    fusion_weight: float
    limit: Limit | None
    accuracy: float
    measured_on: str
    cohort: CohortChoice | None = None


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

    `data_sha256` is the digest of the list of clips (`maclip.data.dataset.data_sha256`). `lists` are the split lists
    that were used and `init` the run it began with, None for none.
    """

    format: int
    tool_version: str
    backbone: Backbone
    model: ModelConfig
    train: TrainConfig
    data: str
    names: ClassNames
    chosen: Chosen | None
    data_sha256: str
    lists: SplitLists | None
    init: Init | None

    @property
    def support_names(self) -> str:
        """What support clips are given where nobody says otherwise: "own" names, or "none", as training chose."""
        return "own" if self.chosen is None or self.chosen.names else "none"

    @property
    def taught(self) -> tuple[str, ...]:
        """The classes whose clips taught the tuned tensors; of a dataset without splits, all."""
        return (*self.names.train, *self.names.other, *(self.init.taught if self.init else ()))


@dataclass(frozen=True)
class Run:
    """A run folder that was opened: `path` and its `config`."""

    path: Path
    config: RunConfig

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Read the run in the folder `path`. Raises `run-missing` and `run-invalid`."""
        path = Path(path)
        file = path / CONFIG_FILE
        if not file.is_file():
            raise MaclipError(
                "run-missing", f"{path} is not a run: it has no {CONFIG_FILE}.", "Give what maclip train made."
            )
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(data, dict) or data.get("format") != RUN_FORMAT:
                raise ValueError(f"its format is not {RUN_FORMAT}")
            return cls(path, from_dict(RunConfig, data))
        except (ValueError, MaclipError) as error:
            what = error.message if isinstance(error, MaclipError) else str(error)
            raise MaclipError(
                "run-invalid", f"{file} cannot be read: {what}", "Train again with this version of maclip."
            ) from error

    @property
    def adapters(self) -> Path:
        """The file of the tuned tensors. Raises `adapters-missing`."""
        file = self.path / ADAPTERS_FILE
        if not file.is_file():
            raise MaclipError(
                "adapters-missing", f"There is no {file}.", f"Finish the training: maclip train --resume {self.path}."
            )
        return file

    @property
    def adapters_sha256(self) -> str:
        """The digest of the tuned tensors' file, as hex. Raises `adapters-missing`."""
        return hashlib.sha256(self.adapters.read_bytes()).hexdigest()

    def model(self, pretrained: str | None = None, *, backbone: LoadedBackbone | None = None) -> MaClip:
        """The trained model in evaluation mode, with the fusion weight that was chosen.

        pretrained: where the backbone's weights are now, when they are no longer where training found them.
        backbone: the frozen CLIP, when it is in memory already (`model.backbone` of another model).
        Raises `weights-changed`, `adapters-missing`, `adapters-mismatch` and what `load_backbone` raises.
        """
        known = self.config.backbone
        if backbone is None and known.pretrained == IN_MEMORY:
            raise MaclipError(
                "weights-unavailable",
                f"{self.path} was trained on a CLIP in memory, which no name or file leads to.",
                "Load that CLIP again, then Run.open(path).model(backbone=maclip.wrap(clip, tokenizer).backbone).",
            )
        backbone = backbone or load_backbone(known.name, pretrained or known.pretrained, expected=known.weights_sha256)
        if backbone.sha256 != known.weights_sha256:
            raise MaclipError(
                "weights-changed",
                f"The weights of {known.name} are not those that {self.path} was trained on.",
                "Give the same checkpoint with --pretrained, or train again on this one.",
            )
        config = self.config.model
        if self.config.chosen is not None:
            config = config.changed(fusion_weight=self.config.chosen.fusion_weight)
        model = MaClip(backbone, config)
        load_adapters(model, self.adapters)
        self._put_chosen(model)
        return model.eval()

    def _put_chosen(self, model: MaClip) -> None:
        """Give `model` the cohort and the distance of "none" that were chosen. Raises `adapters-mismatch`."""
        chosen = self.config.chosen
        if chosen is None:
            return
        if chosen.limit is not None and model.none_distance is not None:
            put_none_distance(model, chosen.limit.distance)
        if chosen.cohort is not None:
            file = self.path / COHORT_FILE
            prototypes = _read_tensors(file).get(COHORT_KEY, torch.zeros(0))
            if prototypes.shape[1:] != (model.config.frames, model.feature_width) or not len(prototypes):
                raise MaclipError(
                    "adapters-mismatch",
                    f"{file} does not fit the model of its config.json.",
                    "Use the files of one run.",
                )
            model.cohort = Cohort(prototypes.float(), chosen.cohort.weight, chosen.cohort.typical)

    def require_trained_adapters(self) -> None:
        """Raise `adapters-untrained` unless the run has adapters or a ladder and training has changed each of them.

        Their output is zero before training, because the weights of their up-projections are.
        """
        ups = {key: value for key, value in load_file(self.adapters).items() if key.endswith(UP_PROJECTION)}
        untrained = sorted(key for key, value in ups.items() if not value.any())
        if untrained or not ups:
            what = f"the adapter {untrained[0]} is as before training" if untrained else "it has no adapters"
            raise MaclipError(
                "adapters-untrained",
                f"{self.path} is not an adapted model: {what}.",
                "Train with adapters, for more episodes of the joint stage.",
            )

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`: updates, validations, and at the end what was chosen."""
        file = self.path / METRICS_FILE
        return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def write_config(run: Path, config: RunConfig) -> None:
    """Write `config.json` in one step. Raises `output-unwritable`."""
    text = json.dumps(dataclasses.asdict(config), indent=2, ensure_ascii=False) + "\n"
    if any("\ud800" <= sign <= "\udfff" for sign in text):  # a path that is not UTF-8
        text = json.dumps(dataclasses.asdict(config), indent=2) + "\n"
    with replacing(run / CONFIG_FILE) as path:
        path.write_text(text, encoding="utf-8")


def write_adapters(path: Path, model: MaClip) -> None:
    """Write the tuned tensors, float32, in one step. Raises `output-unwritable`."""
    state = {key: value.detach().cpu().float().contiguous() for key, value in model.tuned_state().items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(state))  # `save_file` reports a full disk as an error of its own


def write_cohort(path: Path, prototypes: Tensor) -> None:
    """Write the prototypes of a cohort [K, T, D'], float32, in one step. Raises `output-unwritable`."""
    with replacing(path) as temporary:
        temporary.write_bytes(save({COHORT_KEY: prototypes.detach().cpu().float().contiguous()}))


def load_adapters(model: MaClip, path: Path) -> None:
    """Load the tuned tensors in `path` into `model`. Raises `adapters-mismatch`."""
    put_adapters(model, _read_tensors(path), path)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:
        raise MaclipError("adapters-mismatch", f"{path} is not a safetensors file.", "Train again.") from error


def put_none_distance(model: MaClip, distance: float) -> None:
    """Set the distance of "none of these" of a model that has one."""
    assert model.none_distance is not None
    with torch.no_grad():
        model.none_distance.fill_(distance)


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
