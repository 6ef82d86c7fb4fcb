"""Train a model into a new run folder, or resume a run: the functions behind `maclip.train` and `maclip train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from maclip.adapters import refuse_foreign_options
from maclip.backbones.loading import load_backbone
from maclip.config import Machine, ModelConfig, TrainConfig
from maclip.data.clip_store import ClipStore
from maclip.data.dataset import Dataset, data_sha256
from maclip.data.opening import open_data
from maclip.data.split_lists import SplitLists
from maclip.model.maclip import MaClip
from maclip.runs import RUN_FORMAT, ClassNames, Run, RunConfig
from maclip.training.callbacks import Callbacks
from maclip.training.distributed import Team, start_team
from maclip.training.trainer import Trainer
from maclip.training.warm_start import begin_with, find_initial
from maclip.version import __version__
from maclip_runtime.bundle.manifest import Backbone
from maclip_runtime.errors import MaclipError


def train(
    model: MaClip,
    data: Dataset | str | Path,
    config: TrainConfig | None = None,
    *,
    out: str | Path,
    lists: SplitLists | None = None,
    machine: Machine | None = None,
    init: str | Path | None = None,
    callbacks: Callbacks | None = None,
) -> Run:
    """Train `model` in place and write the new run folder `out`. The model is in evaluation mode afterwards.

    It then has the weights and the fusion weight that were best on validation classes, like `Run.model`.

    model: from `maclip.build`, `maclip.wrap` or `maclip.load`.
    data: a dataset, or a folder that `maclip.open_data` can read. It trains on classes of split "train" and validates
        on those of "val".
    config: of the training; default: `TrainConfig()`.
    out: the new run folder.
    lists: public split lists, if `data` is a folder; default None.
    machine: devices, caches and threads; default: one process on the GPU if there is one.
    init: a run to initialise tuned tensors from, where names and shapes match; default None.
    callbacks: called on progress, updates, validations and notes.
    Raises `output-exists`, `data-empty`, `too-few-clips`, `loss-not-finite` and what its parts raise.
    """
    config, machine, out = config or TrainConfig(), machine or Machine(), Path(out)
    with start_team(machine, config.precision) as team:

        def prepare() -> Trainer:
            classes = _begin(team, out, data, lists, callbacks)
            run_config = new_run_config(model, config, classes, lists=lists, init=init)
            model.to(team.fabric.device)
            if run_config.init:
                begin_with(model, run_config.init)
            return _in_folder(
                Trainer(
                    model, classes, run_config, out, callbacks=callbacks, machine=machine, team=team, free_frozen=False
                )
            )

        trainer = team.together(prepare, in_turn=True)
        trainer.fit()
    chosen = trainer.config.chosen
    if chosen is not None:
        model.config = model.config.changed(fusion_weight=chosen.fusion_weight)
    model.checkpointing = False
    model.eval()
    return Run(out, trainer.config)


def train_new(
    data: Dataset | Path,
    out: Path,
    backbone: str,
    pretrained: str,
    model_config: ModelConfig,
    train_config: TrainConfig,
    *,
    lists: SplitLists | None = None,
    machine: Machine | None = None,
    init: Path | None = None,
    callbacks: Callbacks | None = None,
    reuse: tuple[ClipStore, ...] = (),
    quick_gelu: bool | None = None,
) -> Trainer:
    """Like `train`, but each process builds the model, and frozen weights are freed when no longer needed.

    backbone, pretrained, quick_gelu: as for `load_backbone`.
    model_config, train_config: of the model and of the training.
    reuse: stores of earlier trainings on the same clips, whose stem tokens are shared.
    """
    machine = machine or Machine()
    refuse_foreign_options(model_config.adapters)  # before clips are read and weights downloaded
    with start_team(machine, train_config.precision) as team:

        def prepare() -> Trainer:
            classes = _begin(team, out, data, lists, callbacks)
            loaded = load_backbone(backbone, pretrained, quick_gelu=quick_gelu)
            torch.manual_seed(train_config.seed)  # the same initial weights in every process
            model = MaClip(loaded, model_config)
            config = new_run_config(model, train_config, classes, lists=lists, init=init)
            if config.init:
                begin_with(model, config.init)
            model.to(team.fabric.device)
            return _in_folder(
                Trainer(model, classes, config, out, callbacks=callbacks, reuse=reuse, machine=machine, team=team)
            )

        trainer = team.together(prepare, in_turn=True)
        trainer.fit()
        return trainer


def resume(
    run: Path,
    *,
    machine: Machine | None = None,
    pretrained: str | None = None,
    callbacks: Callbacks | None = None,
) -> Trainer:
    """Resume the training in `run` from its last checkpoint. Raises `run-*`, `weights-changed`, `data-changed`.

    machine: devices, caches and threads.
    pretrained: new path of the backbone's weights, if they were moved.
    callbacks: called on progress, updates, validations and notes.
    """
    machine = machine or Machine()
    config = Run.open(run).config

    def prepare() -> Trainer:
        known = config.backbone
        loaded = load_backbone(known.name, pretrained or known.pretrained, expected=known.weights_sha256)
        if loaded.sha256 != config.backbone.weights_sha256:
            raise MaclipError(
                "weights-changed",
                f"The weights of the backbone have changed since {run} was started.",
                "Restore them, or give their new path with --pretrained FILE.",
            )
        classes = open_data(Path(config.data), config.lists)
        if class_names(classes) != config.names:
            raise MaclipError(
                "data-changed",
                f"The classes under {config.data} have changed since {run} was started.",
                "Restore them, or start a new run.",
            )
        # Clips may be added or removed, such as broken ones: the run records the last state of the dataset.
        found = replace(config.backbone, pretrained=loaded.pretrained)
        now = replace(config, backbone=found, data_sha256=data_sha256(classes))
        if config.data_sha256 != now.data_sha256 and team.leads and callbacks is not None:
            callbacks.note(f"The clips under {config.data} have changed since {run} was started: its episodes change.")
        torch.manual_seed(config.train.seed)
        model = MaClip(loaded, config.model)
        if config.init:
            begin_with(model, config.init)
        model.to(team.fabric.device)
        return Trainer(model, classes, now, run, callbacks=callbacks, machine=machine, team=team)

    with start_team(machine, config.train.precision) as team:
        trainer = team.together(prepare, in_turn=True)
        trainer.fit(resume=True)
        return trainer


def class_names(data: Dataset) -> ClassNames:
    """The natural names of all classes by split."""
    names: dict[str, tuple[str, ...]] = {}
    for c in data.classes:
        split = c.split or "other"
        names[split] = (*names.get(split, ()), c.name)
    return ClassNames(**names)


def new_run_config(
    model: MaClip,
    config: TrainConfig,
    data: Dataset,
    *,
    lists: SplitLists | None = None,
    init: str | Path | None = None,
) -> RunConfig:
    """The content of RUN/config.json for a new training of `model` on `data`."""
    backbone = model.backbone
    return RunConfig(
        format=RUN_FORMAT,
        tool_version=__version__,
        backbone=Backbone(backbone.name, backbone.pretrained, backbone.sha256),
        model=model.config,
        train=config,
        data=str(data.root.resolve()),
        names=class_names(data),
        chosen=None,
        data_sha256=data_sha256(data),
        lists=lists,
        init=find_initial(Path(init), model.config) if init else None,
    )


def _begin(
    team: Team, out: Path, data: Dataset | str | Path, lists: SplitLists | None, callbacks: Callbacks | None
) -> Dataset:
    """Check that `out` is free, and open the dataset."""
    if team.leads and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MaclipError(
            "output-exists",
            f"{out} already exists.",
            f"Resume it with maclip train --resume {out}, or choose another folder.",
        )
    classes = data if isinstance(data, Dataset) else open_data(Path(data), lists)
    if team.leads and callbacks is not None:
        for line in classes.left_out:
            callbacks.note(line)
    return classes


def _in_folder(trainer: Trainer) -> Trainer:
    """`trainer`, after the first process has created its run folder."""
    if trainer.team.leads:
        try:
            trainer.run.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MaclipError(
                "output-unwritable",
                f"{trainer.run} cannot be created ({error.strerror}).",
                "Choose a folder that you can write to.",
            ) from error
    return trainer
