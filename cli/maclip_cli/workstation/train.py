"""`maclip train`: a new run, or an interrupted one continued."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from maclip_cli.workstation.data import (
    DecoderOption,
    FrameCacheOption,
    ListsOption,
    MaxBrokenOption,
    NamesOption,
    SkipMissingOption,
)
from maclip_cli.workstation.requirements import need_training
from maclip_runtime.errors import MaclipError

Backbone = Annotated[
    str, typer.Option(help="A ViT of open_clip by name, or 'tiny': the small CLIP that ships with maclip.")
]
Pretrained = Annotated[str, typer.Option(help="open_clip's tag, a checkpoint file, or 'none' for random weights.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Metric = Annotated[str, typer.Option(help="otam, bimhm, trx or trx-triples.")]


def train(
    context: typer.Context,
    data: Annotated[Path | None, typer.Argument(help="A folder that holds a folder of clips for each class.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="The new run folder.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted run.")] = None,
    init: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Begin with another run's adapters and TPCM, where they fit.")
    ] = None,
    backbone: Backbone = "ViT-B-16",
    pretrained: Pretrained = "openai",
    lists: ListsOption = None,
    class_names: NamesOption = None,
    skip_missing: SkipMissingOption = False,
    way: Annotated[int, typer.Option(min=2, help="Classes an episode.")] = 5,
    shot: Annotated[int, typer.Option(min=1, help="Support clips a class.")] = 1,
    queries: Annotated[int, typer.Option(min=1, help="Query clips a class.")] = 1,
    frames: Annotated[int, typer.Option(min=2, help="Frames a clip (T).")] = 8,
    metric: Metric = "otam",
    adapted_depth: Annotated[int | None, typer.Option(help="Adapt the last K blocks; all by default.")] = None,
    episodes: Annotated[int, typer.Option(min=0, help="Episodes that train everything.")] = 1000,
    prototype_episodes: Annotated[
        int, typer.Option(min=0, help="Episodes of TPCM alone before, on cached features.")
    ] = 0,
    accumulate: Annotated[int, typer.Option(min=1, help="Episodes an update.")] = 16,
    learning_rate: Annotated[float, typer.Option(min=0, help="Of the episodes that train everything.")] = 5e-4,
    prototype_learning_rate: Annotated[float, typer.Option(min=0, help="Of the episodes of TPCM alone.")] = 5e-4,
    weight_decay: Annotated[float, typer.Option(min=0)] = 5e-4,
    text_dropout: Annotated[
        float, typer.Option(min=0, max=1, help="Share of support classes that train without their name; 0: the paper.")
    ] = 0.0,
    fusion_weight: Annotated[float, typer.Option(min=0, max=1, help="a: weight of the text match in the loss.")] = 0.4,
    template: Annotated[
        list[str] | None, typer.Option(help="Prompt with {} for the name; several are averaged.")
    ] = None,
    cache: Annotated[
        str, typer.Option(help="Stem tokens: auto, stem (in memory), disk or none. auto: memory while they fit.")
    ] = "auto",
    stem_cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Stem tokens go to this disk, for later runs too; else RUN/stem.")
    ] = None,
    stem_views: Annotated[
        int, typer.Option(min=0, help="Cached views of a clip with random crops; 0: the centre crops of 2T frames.")
    ] = 0,
    frame_cache: FrameCacheOption = None,
    view_frames: Annotated[
        int, typer.Option(min=0, help="Random views choose among so many frames of a clip; 0: all. Bounds the cache.")
    ] = 0,
    max_broken: MaxBrokenOption = 0.05,
    decoder: DecoderOption = "pyav",
    validation_episodes: Annotated[int, typer.Option(min=1)] = 400,
    validations: Annotated[int, typer.Option(min=1, help="How often validation classes are tried in each part.")] = 10,
    patience: Annotated[
        int, typer.Option(min=0, help="Validations without a new best that end the training; 0: never.")
    ] = 0,
    schedule: Annotated[str, typer.Option(help="Of the learning rate after its warm-up: cosine or constant.")] = (
        "cosine"
    ),
    precision: Annotated[str, typer.Option(help="32, or mixed: bf16, or fp16 on CUDA.")] = "32",
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Less memory for more time: compute blocks again for gradients.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the episodes, and of how what is trained begins.")] = 0,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes that train together, one a GPU.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; start the command on each, or use torchrun.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read clips ahead, for each process.")] = 2,
    save_seconds: Annotated[
        float, typer.Option(min=0, help="Save the state this often, beside each validation.")
    ] = 60.0,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write scalars to RUN/tensorboard too.")] = False,
) -> None:
    """Train adapters and prototype module by episodes, on classes that are never the ones to be recognised."""
    need_training()
    from maclip.data.split_lists import SplitLists, absolute
    from maclip.model.maclip import ModelConfig
    from maclip.runs import CONFIG_FILE, TrainConfig
    from maclip.training.api import resume as resume_run
    from maclip.training.api import train as start_run
    from maclip.training.distributed import Machine
    from maclip_cli.progress import Bars
    from maclip_cli.workstation.resuming import is_given, refuse_changes

    if cache not in ("auto", "stem", "disk", "none"):
        raise MaclipError("option-invalid", f"There is no cache {cache!r}.", "Use auto, stem, disk or none.")
    templates = tuple(template or ModelConfig.templates)
    if schedule not in ("cosine", "constant"):
        raise MaclipError("option-invalid", f"There is no schedule {schedule!r}.", "Use cosine or constant.")
    chosen = TrainConfig(
        way=way, shot=shot, queries=queries, episodes=episodes, prototype_episodes=prototype_episodes,
        accumulate=accumulate, learning_rate=learning_rate, prototype_learning_rate=prototype_learning_rate,
        weight_decay=weight_decay, text_dropout=text_dropout, cache=cache, validation_episodes=validation_episodes,
        validations=validations, patience=patience, schedule=schedule, precision=precision,
        checkpointing=checkpointing, view_frames=view_frames, stem_views=stem_views, seed=seed,
    )  # fmt: skip
    model = ModelConfig(frames, adapted_depth, True, metric, fusion_weight, templates)
    class_names = absolute(class_names) if class_names else None
    split = SplitLists(str(lists.resolve()), class_names, skip_missing) if lists else None
    machine = Machine(
        device, devices, nodes, workers, save_seconds, tensorboard, decoder, frame_cache, stem_cache, max_broken
    )
    try:
        with Bars() as bars:
            if resume is not None:
                asked = {
                    **{"backbone": backbone, "lists": split and split.folder},
                    **{"data": data and str(data.resolve()), "out": out and str(out.resolve())},
                    **{"class_names": class_names, "skip_missing": skip_missing, "init": init and str(init.resolve())},
                    **dataclasses.asdict(model),
                    **dataclasses.asdict(chosen),
                }
                refuse_changes(context, resume, asked)
                out = resume
                moved = pretrained if is_given(context, "pretrained") else None  # its digest says if it is the same
                trainer = resume_run(resume, bars, device, machine, moved)
            elif data is None or out is None:
                raise MaclipError(
                    "option-invalid", "DATA or --out is missing.", "maclip train DATA --out RUN, or --resume RUN."
                )
            else:
                trainer = start_run(
                    data,
                    out,
                    backbone,
                    pretrained,
                    model,
                    chosen,
                    bars,
                    device,
                    lists=split,
                    machine=machine,
                    init=init,
                )
    except KeyboardInterrupt:
        if out is not None and (out / CONFIG_FILE).is_file():
            Console(stderr=True).print(
                f"The last state is kept. Go on with: maclip train --resume {out}", soft_wrap=True
            )
        raise
    if trainer.team.leads:
        Console(stderr=True).print(f"The run is in {out}. Next: maclip export {out} -o bundle", soft_wrap=True)
