"""The command line `maclip`: generate clips, train, evaluate and export on a workstation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from maclip.config import ModelConfig
from maclip.config.training import MAX_SEED
from maclip_cli.commands import finish
from maclip_cli.completion import completion_command
from maclip_cli.console import add_version, changes, people, run_app
from maclip_cli.settings_command import config_command
from maclip_cli.workstation.ablate import ablate
from maclip_cli.workstation.backbones import backbones
from maclip_cli.workstation.bench import bench
from maclip_cli.workstation.bench_train import bench_train
from maclip_cli.workstation.config_options import takes
from maclip_cli.workstation.data import data_app
from maclip_cli.workstation.evaluate import compare, evaluate
from maclip_cli.workstation.examples import EXAMPLES
from maclip_cli.workstation.export import export
from maclip_cli.workstation.requirements import need_export, need_training
from maclip_cli.workstation.sign import sign
from maclip_cli.workstation.train import Backbone, Pretrained, QuickGelu, train
from maclip_runtime.errors import MaclipError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Few-shot action recognition: train adapters on a frozen CLIP model, evaluate them, and export to ONNX.",
)

MAX_CLIPS = 100_000  # of a generated class
MAX_WORKERS = 256

NAME = "maclip"
add_version(app, NAME)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print only JSON, on stdout.")]


@app.command()
@takes(config=ModelConfig)
def info(
    backbone: Backbone = "ViT-B-16",
    pretrained: Pretrained = "openai",
    quick_gelu: QuickGelu = None,
    as_json: JsonFlag = False,
    *,
    config: ModelConfig,
) -> None:
    """Print the size of a model: its parameters, and how many of them are trained."""
    need_training()
    import maclip

    model = maclip.build(backbone, pretrained, quick_gelu=quick_gelu, config=config)
    prototype = model.prototype.parameters() if model.prototype is not None else []
    facts: dict[str, Any] = {
        "backbone": model.backbone.name,
        "pretrained": model.backbone.pretrained,
        "weights_sha256": model.backbone.sha256,
        "parameters_total": sum(p.numel() for p in model.parameters()),
        "parameters_tuned": sum(p.numel() for p in model.tuned_parameters()),
        "parameters_prototype": sum(p.numel() for p in prototype),
        "blocks": model.layers,
        "adapters": config.adapters.kind,
        "adapted_depth": model.adapted_depth,
        "frames": config.frames,
        "size": model.backbone.preprocess.size,
        "feature_width": model.feature_width,
    }
    _print_facts(facts, as_json)


@app.command()
@changes
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder, or an earlier demo, which is replaced.")] = (
        Path("demo")
    ),
) -> None:
    """Run everything on generated clips: train, evaluate, export, enroll, recognise, and write DIR/report.html."""
    need_export()
    from maclip_cli.demo.director import run_demo

    run_demo(out)


@app.command()
@changes
def synth(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Output folder: DIR/motion and DIR/object-motion.")],
    family: Annotated[str, typer.Option(help="motion, object-motion, or both.")] = "both",
    clips: Annotated[
        int | None, typer.Option(min=1, max=MAX_CLIPS, help="Clips of a class; default: 24 for training, else 16.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the clips.")] = 0,
    split_seed: Annotated[
        int | None, typer.Option(min=0, max=MAX_SEED, help="Assign classes to splits at random, with this seed.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, max=MAX_WORKERS, help="Number of processes; 0: one per core.")] = 0,
    streams: Annotated[
        int,
        typer.Option(min=0, max=MAX_CLIPS, help="Also untrimmed videos of each split, in DIR/FAMILY-streams."),
    ] = 0,
) -> None:
    """Generate clips of moving shapes: a folder of videos for each class, and a classes.json.

    With --streams also untrimmed videos of several actions, and an annotations.json that says what happens when.
    """
    from maclip_cli.progress import Bars

    if family not in ("motion", "object-motion", "both"):
        raise MaclipError("family-unknown", f"There is no family {family!r}.", "Use motion, object-motion or both.")
    from maclip.world.classes import FAMILIES
    from maclip.world.streams import write_streams
    from maclip.world.synth import DEFAULT_CLIPS, write_clips

    processes = workers or os.cpu_count() or 1
    with Bars() as bars:
        for name in FAMILIES:
            if family in (name, "both"):
                progress = bars.progress(f"{name} clips")
                count = clips if clips is not None else DEFAULT_CLIPS
                write_clips(
                    out / name,
                    name,
                    count,
                    seed=seed,
                    workers=processes,
                    progress=progress,
                    split_seed=split_seed,
                )
                if streams:
                    write_streams(
                        out / f"{name}-streams",
                        name,
                        streams=streams,
                        seed=seed,
                        workers=processes,
                        progress=bars.progress(f"{name} streams"),
                        split_seed=split_seed,
                    )
    done = f"The clips are in {out}. Next: maclip train {out / 'motion'} --out run --backbone tiny"
    people().print(done, soft_wrap=True)


app.add_typer(data_app, name="data")
app.command()(changes(train))
app.command(name="eval")(evaluate)
app.command()(compare)
app.command()(changes(ablate))
app.command()(backbones)
app.command()(changes(export))
app.command()(bench)
app.command("bench-train")(bench_train)
app.command()(changes(sign))
app.command()(config_command(NAME))
app.command()(completion_command(NAME))
finish(app, EXAMPLES)


def main() -> None:
    """The entry point `maclip`."""
    run_app(app, NAME)


def _print_facts(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
        return
    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        table.add_row(key.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    Console().print(table)
