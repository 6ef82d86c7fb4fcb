"""`maclip train`: train a new run, or resume an interrupted one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maclip.config import Machine, ModelConfig, TrainConfig
from maclip_cli.console import people
from maclip_cli.workstation.config_options import takes
from maclip_cli.workstation.data import ListsOption, NamesOption, SkipMissingOption
from maclip_cli.workstation.requirements import need_training
from maclip_runtime.errors import MaclipError

Backbone = Annotated[
    str, typer.Option(help="Name of an open_clip model, or 'tiny': the small CLIP model that ships with maclip.")
]
Pretrained = Annotated[
    str, typer.Option(help="A tag of open_clip, a checkpoint file, a model hub's folder, or 'none' for random weights.")
]
QuickGelu = Annotated[
    bool | None,
    typer.Option(
        "--quick-gelu/--gelu",
        help="Activation of a checkpoint that does not say it. OpenAI, DFN and MetaCLIP trained with QuickGELU.",
        show_default=False,
    ),
]


@takes(model=ModelConfig, train=TrainConfig, machine=Machine)
def train(
    context: typer.Context,
    data: Annotated[Path | None, typer.Argument(help="A folder that holds a folder of clips for each class.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="The new run folder.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Resume an interrupted run.")] = None,
    init: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Initialise tuned tensors from another run, where shapes match.")
    ] = None,
    backbone: Backbone = "ViT-B-16",
    pretrained: Pretrained = "openai",
    quick_gelu: QuickGelu = None,
    lists: ListsOption = None,
    class_names: NamesOption = None,
    skip_missing: SkipMissingOption = False,
    *,
    model: ModelConfig,
    train: TrainConfig,
    machine: Machine,
) -> None:
    """Train adapters and prototype module on few-shot episodes of the classes in DATA."""
    need_training()
    from maclip.data.split_lists import SplitLists, absolute
    from maclip.runs import CONFIG_FILE
    from maclip.training.api import resume as resume_run
    from maclip.training.api import train_new
    from maclip.training.streams import absolute_streams
    from maclip_cli.progress import Bars
    from maclip_cli.workstation.resuming import is_given, refuse_changes

    class_names = absolute(class_names) if class_names else None
    train = absolute_streams(train)  # so that it resumes from any folder
    split = SplitLists(str(lists.resolve()), class_names, skip_missing) if lists else None
    try:
        with Bars() as bars:
            if resume is not None:
                requested = {
                    **{"backbone": backbone, "lists": split and split.folder},
                    **{"data": data and str(data.resolve()), "out": out and str(out.resolve())},
                    **{"class_names": class_names, "skip_missing": skip_missing, "init": init and str(init.resolve())},
                    **model.values(),
                    **train.values(),
                }
                refuse_changes(context, resume, requested)
                out = resume
                moved = pretrained if is_given(context, "pretrained") else None  # the digest is checked
                trainer = resume_run(resume, machine=machine, pretrained=moved, callbacks=bars)
            elif data is None or out is None:
                raise MaclipError(
                    "option-invalid",
                    "DATA or --out is missing.",
                    "maclip train DATA --out RUN, or --resume RUN.",
                )
            else:
                trainer = train_new(
                    data, out, backbone, pretrained, model, train,
                    lists=split, machine=machine, init=init, callbacks=bars,
                    quick_gelu=quick_gelu,
                )  # fmt: skip
    except KeyboardInterrupt:
        if out is not None and (out / CONFIG_FILE).is_file():
            people().print(f"The last checkpoint is kept. Resume with: maclip train --resume {out}", soft_wrap=True)
        raise
    if trainer.team.leads:
        people().print(f"The run is in {out}. Next: maclip export {out} -o bundle", soft_wrap=True)
