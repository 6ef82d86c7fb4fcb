"""`maclip ablate`: train and compare several rows of the ablation on one dataset."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from maclip.config import Machine, ModelConfig, TrainConfig
from maclip.config.training import MAX_ASKED
from maclip_cli.console import results
from maclip_cli.workstation.config_options import takes
from maclip_cli.workstation.data import ListsOption, NamesOption, SkipMissingOption
from maclip_cli.workstation.requirements import need_training
from maclip_cli.workstation.train import Backbone, Pretrained

if TYPE_CHECKING:
    from maclip.ablation import AblationResult


@takes(model=ModelConfig, train=TrainConfig, machine=Machine)
def ablate(
    data: Annotated[Path, typer.Argument(help="A folder that holds a folder of clips for each class.")],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Runs and records, one folder per row; finished work is kept."),
    ],
    rows: Annotated[
        str,
        typer.Option(
            help="Rows, separated by commas: frozen, tpcm, adapters, both, ladder, full-tuning, no-text-token, "
            "transformer, clip-fsar, raw-text, bimhm, trx."
        ),
    ] = "frozen,tpcm,adapters,both",
    shots: Annotated[str, typer.Option(help="Shots of the evaluations, separated by commas.")] = "1,5",
    test_episodes: Annotated[int, typer.Option(min=1, max=MAX_ASKED, help="Episodes of each evaluation.")] = 10_000,
    split: Annotated[str, typer.Option(help="Split to evaluate: test, or val to choose by.")] = "test",
    backbone: Backbone = "ViT-B-16",
    pretrained: Pretrained = "openai",
    lists: ListsOption = None,
    class_names: NamesOption = None,
    skip_missing: SkipMissingOption = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all results here.")] = None,
    *,
    model: ModelConfig,
    train: TrainConfig,
    machine: Machine,
) -> None:
    """Train several rows of the paper's ablation on DATA, evaluate them on the same episodes, and print a table."""
    need_training()
    from maclip.ablation import ablate as run_rows
    from maclip.config import EvaluationConfig
    from maclip.data.split_lists import SplitLists, absolute
    from maclip.writing import replacing
    from maclip_cli.progress import Bars
    from maclip_runtime.errors import MaclipError

    try:
        counts = tuple(int(one) for one in shots.split(","))
    except ValueError:
        raise MaclipError("option-invalid", f"--shots cannot be {shots!r}.", "Give numbers, such as 1,5.") from None
    names = absolute(class_names) if class_names else None
    split_lists = SplitLists(str(lists.resolve()), names, skip_missing) if lists else None
    with Bars() as bars:
        found = run_rows(
            data, out, rows.split(","),
            backbone=backbone, pretrained=pretrained, model=model, train=train,
            evaluation=EvaluationConfig.of(way=train.episode.way, episodes=test_episodes),
            shots=counts, split=split, lists=split_lists, machine=machine, callbacks=bars,
        )  # fmt: skip
    _print_table(found, counts, split)
    if json_file is not None:
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps([_facts(one) for one in found], indent=2, ensure_ascii=False) + "\n")


def _print_table(found: list[AblationResult], shots: tuple[int, ...], split: str) -> None:
    """Print the accuracy of each row and its paired difference to the first row."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("row", no_wrap=True)
    table.add_column("description")
    for shot in shots:
        table.add_column(f"{shot}-shot", justify="right", no_wrap=True)
        table.add_column(f"vs {found[0].name}", justify="right", no_wrap=True)
    for one in found:
        cells = []
        for shot in shots:
            result = one.records[shot].result
            cells.append(f"{100 * result.accuracy:.1f} ± {100 * result.interval:.1f}")
            difference = one.against(found[0], shot)
            beside = f"{100 * difference.difference:+.1f} ± {100 * difference.interval:.1f}"
            cells.append("" if one is found[0] else beside)
        table.add_row(one.name, escape(one.row.words), *cells)
    console = results()
    console.print(table)
    result = found[0].records[shots[0]].result
    console.print(
        f"accuracy in % on {split} classes, {result.way}-way, {result.episodes:,} episodes, with 95 % intervals; "
        "differences are paired over the same episodes",
        soft_wrap=True,
    )


def _facts(one: AblationResult) -> dict[str, object]:
    accuracy = {
        shot: {"accuracy": record.result.accuracy, "interval": record.result.interval, "way": record.result.way}
        for shot, record in one.records.items()
    }
    chosen = one.run.config.chosen if one.run is not None else None
    return {
        "row": one.name,
        "words": one.row.words,
        "options": dict(one.row.options),
        "by_shot": accuracy,
        "chosen": dataclasses.asdict(chosen) if chosen is not None else None,
    }
