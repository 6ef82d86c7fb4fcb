"""Begin a training in a new folder, or go on with one: the two entries behind `maclip train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

import maclip
from maclip.backbones.loading import LoadedBackbone, load_backbone
from maclip.data.clip_store import ClipStore
from maclip.data.dataset import DataSet, data_sha256
from maclip.data.split_lists import SplitLists, open_classes
from maclip.model.maclip import MaClip, ModelConfig
from maclip.runs import RUN_FORMAT, ClassNames, RunConfig, TrainConfig, read_run
from maclip.training.distributed import DEFAULT_MACHINE, Machine, Team, pick_device, start_team
from maclip.training.trainer import Trainer, Watcher
from maclip.training.warm_start import begin_with, find_initial
from maclip_runtime.bundle.manifest import Backbone
from maclip_runtime.errors import MaclipError

__all__ = ["class_names", "pick_device", "resume", "train"]


def train(
    data: Path,
    out: Path,
    backbone: str,
    pretrained: str,
    model_config: ModelConfig,
    train_config: TrainConfig,
    watcher: Watcher,
    device: str = "auto",
    lenders: tuple[ClipStore, ...] = (),
    lists: SplitLists | None = None,
    machine: Machine = DEFAULT_MACHINE,
    init: Path | None = None,
) -> Trainer:
    """Train on the classes under `data` into the new folder `out`. Raises `output-exists` and what its parts raise.

    `lists`: public split lists that say which clips are which classes. `lenders`: the stores of an earlier
    training on the same clips, whose stem tokens need not be computed again. `machine` says all of the machine but
    its `device`. `init`: a run whose tuned tensors this one begins with, where they fit.
    """
    machine = replace(machine, device=device)

    def prepare() -> Trainer:
        if team.leads:
            _refuse_taken(out)
        classes = open_classes(data, lists)
        for said in classes.left_out if team.leads else ():
            watcher.note(said)
        loaded = load_backbone(backbone, pretrained)
        config = RunConfig(
            format=RUN_FORMAT,
            tool_version=maclip.__version__,
            backbone=Backbone(loaded.name, loaded.pretrained, loaded.sha256),
            model=model_config,
            train=train_config,
            data=str(data.resolve()),
            names=class_names(classes),
            data_sha256=data_sha256(classes),
            lists=lists,
            init=find_initial(init) if init else None,
        )
        trainer = Trainer(_model(loaded, config, team), classes, config, out, watcher, lenders, machine, team)
        if team.leads:
            _make_folder(out)
        return trainer

    with start_team(machine, train_config.precision) as team:
        trainer = team.together(prepare, in_turn=True)
        trainer.fit()
        return trainer


def resume(
    run: Path,
    watcher: Watcher,
    device: str = "auto",
    machine: Machine = DEFAULT_MACHINE,
    pretrained: str | None = None,
) -> Trainer:
    """Go on with the training in `run` where its last saved state left it. Raises `run-*`, `*-changed`.

    `pretrained`: where the same weights lie now, if they were moved.
    """
    machine = replace(machine, device=device)
    config = read_run(run)

    def prepare() -> Trainer:
        loaded = load_backbone(config.backbone.name, pretrained or config.backbone.pretrained)
        if loaded.sha256 != config.backbone.weights_sha256:
            raise MaclipError(
                "weights-changed",
                f"The backbone's weights changed since {run} was begun.",
                "Put the same weights back, or name them: --pretrained FILE.",
            )
        classes = open_classes(Path(config.data), config.lists)
        if class_names(classes) != config.names:
            raise MaclipError(
                "data-changed",
                f"The classes under {config.data} changed since {run} was begun.",
                "Put them back, or begin anew.",
            )
        # Clips may have come or gone, a broken one for instance: the run says what it was last trained on.
        found = replace(config.backbone, pretrained=loaded.pretrained)
        now = replace(config, backbone=found, data_sha256=data_sha256(classes))
        if config.data_sha256 not in (None, now.data_sha256) and team.leads:
            watcher.note(f"The clips under {config.data} are not those {run} was begun on: its episodes change.")
        return Trainer(_model(loaded, now, team), classes, now, run, watcher, (), machine, team)

    with start_team(machine, config.train.precision) as team:
        trainer = team.together(prepare, in_turn=True)
        trainer.fit(resume=True)
        return trainer


def class_names(data: DataSet) -> ClassNames:
    """The natural names of all classes by split."""
    names: dict[str, tuple[str, ...]] = {}
    for c in data.classes:
        split = c.split or "other"
        names[split] = (*names.get(split, ()), c.name)
    return ClassNames(**names)


def _model(loaded: LoadedBackbone, config: RunConfig, team: Team) -> MaClip:
    torch.manual_seed(config.train.seed)  # how the adapters begin, the same in every process
    model = MaClip(loaded, config.model)
    if config.init:
        begin_with(model, config.init)
    return model.to(team.fabric.device)


def _refuse_taken(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MaclipError(
            "output-exists",
            f"{out} is already there.",
            f"Go on with it: maclip train --resume {out}; or choose another.",
        )


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MaclipError(
            "output-unwritable", f"{out} cannot be made ({error.strerror}).", "Choose a place you may write to."
        ) from error
