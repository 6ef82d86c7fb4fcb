"""`maclip`: generate clips, train, evaluate and export on a workstation. Commands parse, call and print."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from maclip_cli.benching import bench
from maclip_cli.console import run_app
from maclip_cli.data import ListsOption, NamesOption, SkipMissingOption, data_app
from maclip_cli.evaluating import compare, evaluate
from maclip_cli.exporting import export
from maclip_cli.requirements import need_export, need_training
from maclip_cli.signing import sign
from maclip_runtime.errors import MaclipError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Train light adapters on a frozen CLIP that learn actions from a handful of clips, and export them.",
)

Backbone = Annotated[
    str, typer.Option(help="A ViT of open_clip by name, or 'tiny': the small CLIP that ships with maclip.")
]
Pretrained = Annotated[str, typer.Option(help="open_clip's tag, a checkpoint file, or 'none' for random weights.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Metric = Annotated[str, typer.Option(help="otam, bimhm, trx or trx-triples.")]


@app.command()
def info(
    backbone: Backbone = "ViT-B-16",
    pretrained: Pretrained = "openai",
    frames: int = 8,
    adapted_depth: Annotated[int | None, typer.Option(help="Adapt the last K blocks; all by default.")] = None,
    metric: Metric = "otam",
    as_json: JsonFlag = False,
) -> None:
    """Say what a model is made of: its parameters, and how many of them are tuned."""
    need_training()
    import maclip

    model = maclip.build(backbone, pretrained, frames=frames, adapted_depth=adapted_depth, metric=metric)
    prototype = model.prototype.parameters() if model.prototype is not None else []
    facts: dict[str, Any] = {
        "backbone": model.backbone.name,
        "pretrained": model.backbone.pretrained,
        "weights_sha256": model.backbone.sha256,
        "parameters_total": sum(p.numel() for p in model.parameters()),
        "parameters_tuned": sum(p.numel() for p in model.tuned_parameters()),
        "parameters_prototype": sum(p.numel() for p in prototype),
        "blocks": model.layers,
        "adapted_depth": model.adapted_depth,
        "frames": frames,
        "size": model.backbone.preprocess.size,
        "feature_width": model.feature_width,
    }
    _print_facts(facts, as_json)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder, or an earlier demo's, which is replaced.")] = (
        Path("demo")
    ),
) -> None:
    """All of it on generated clips, in minutes: train, evaluate, export, enroll, recognise, and DIR/report.html."""
    need_export()
    from maclip_cli.demo.director import run_demo

    run_demo(out)


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Where the clips go: DIR/motion and DIR/object-motion.")],
    family: Annotated[str, typer.Option(help="motion, object-motion, or both.")] = "both",
    clips: Annotated[int | None, typer.Option(min=1, help="Clips a class; 24 for training, 16 else.")] = None,
    seed: int = 0,
    split_seed: Annotated[int | None, typer.Option(help="Deal the classes to the splits anew.")] = None,
    workers: Annotated[int, typer.Option(help="Processes; 0: one a core.")] = 0,
) -> None:
    """Generate clips of drawn shapes that perform named motions, as folder-per-class video with classes.json."""
    from maclip_cli.progress import Bars

    if family not in ("motion", "object-motion", "both"):
        raise MaclipError("family-unknown", f"There is no family {family!r}.", "Use motion, object-motion or both.")
    from maclip.world.classes import FAMILIES
    from maclip.world.synth import DEFAULT_CLIPS, write_clips

    with Bars() as bars:
        for name in FAMILIES:
            if family in (name, "both"):
                progress = bars.progress(f"{name} clips")
                count = clips if clips is not None else DEFAULT_CLIPS
                write_clips(out / name, name, count, seed, workers or os.cpu_count() or 1, progress, split_seed)
    done = f"Clips are in {out}. Next: maclip train {out / 'motion'} --out run --backbone tiny"
    Console(stderr=True).print(done, soft_wrap=True)


@app.command()
def train(
    data: Annotated[Path | None, typer.Argument(help="A folder that holds a folder of clips for each class.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="The new run folder.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted run.")] = None,
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
    weight_decay: float = 5e-4,
    text_dropout: Annotated[
        float, typer.Option(min=0, max=1, help="Share of support classes that train without their name; 0: the paper.")
    ] = 0.0,
    fusion_weight: Annotated[float, typer.Option(min=0, max=1, help="a: weight of the text match in the loss.")] = 0.4,
    template: Annotated[
        list[str] | None, typer.Option(help="Prompt with {} for the name; several are averaged.")
    ] = None,
    cache: Annotated[str, typer.Option(help="stem tokens in memory: auto, stem or none.")] = "auto",
    validation_episodes: Annotated[int, typer.Option(min=1)] = 400,
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Train adapters and prototype module by episodes, on classes that are never the ones to be recognised."""
    need_training()
    from maclip.launch import resume as resume_run
    from maclip.launch import train as start_run
    from maclip.lists import SplitLists
    from maclip.model import ModelConfig
    from maclip.run import CONFIG_FILE, TrainConfig
    from maclip_cli.progress import Bars

    if cache not in ("auto", "stem", "none"):
        raise MaclipError("option-invalid", f"There is no cache {cache!r}.", "Use auto, stem or none.")
    templates = tuple(template or ModelConfig.templates)
    if any("{}" not in t for t in templates):
        raise MaclipError("option-invalid", "A template has no place for the name.", "Write {} in it: 'a photo of {}'.")
    try:
        with Bars() as bars:
            if resume is not None:
                out = resume
                resume_run(resume, bars, device)
            elif data is None or out is None:
                raise MaclipError(
                    "option-invalid", "DATA or --out is missing.", "maclip train DATA --out RUN, or --resume RUN."
                )
            else:
                chosen = TrainConfig(
                    way=way, shot=shot, queries=queries, episodes=episodes, prototype_episodes=prototype_episodes,
                    accumulate=accumulate, learning_rate=learning_rate,
                    prototype_learning_rate=prototype_learning_rate, weight_decay=weight_decay,
                    text_dropout=text_dropout, cache=cache, validation_episodes=validation_episodes, seed=seed,
                )  # fmt: skip
                model = ModelConfig(frames, adapted_depth, True, metric, fusion_weight, templates)
                split = SplitLists(str(lists.resolve()), class_names, skip_missing) if lists else None
                start_run(data, out, backbone, pretrained, model, chosen, bars, device, lists=split)
    except KeyboardInterrupt:
        if out is not None and (out / CONFIG_FILE).is_file():
            Console(stderr=True).print(
                f"The last state is kept. Go on with: maclip train --resume {out}", soft_wrap=True
            )
        raise
    Console(stderr=True).print(f"The run is in {out}. Next: maclip export {out} -o bundle", soft_wrap=True)


app.add_typer(data_app, name="data")
app.command(name="eval")(evaluate)
app.command()(compare)
app.command()(export)
app.command()(bench)
app.command()(sign)


def main() -> None:
    """The entry point `maclip`."""
    run_app(app)


def _print_facts(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
        return
    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        table.add_row(key.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    Console().print(table)
