"""`maclip eval --streams`, and `maclip compare` of its records."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maclip_cli.console import print_json

if TYPE_CHECKING:
    from maclip.evaluation.streams.record import StreamRecord

TITLES = {
    "f1": "F1 of events",
    "precision": "precision of events",
    "recall": "recall of events",
    "false_alarms_an_hour": "false alarms an hour",
    "latency_s": "latency, seconds",
    "accuracy": "accuracy, cut exactly",
    "auroc": "AUROC of strangers",
    "strangers_passing": "strangers that pass at 95 % recall",
}
SHARES = ("f1", "precision", "recall", "accuracy", "strangers_passing")  # printed in percent


def print_streams(record: StreamRecord) -> None:
    """The figures as a table, and what they were measured on."""
    console = Console()
    seen = len(record.seen_in_training)
    known = (
        f", {seen} of its actions were also in training: not few-shot figures on new actions"
        if seen and record.split != "train"
        else ""
    )
    console.print(
        escape(
            f"{record.way}-way {record.shot}-shot galleries ({len(record.galleries)}) on the {record.split} videos of "
            f"{record.streams}{known}; windows of {record.window_s:.2f} s, {record.hop_s:.2f} s apart"
        ),
        soft_wrap=True,
    )
    table = Table("figure", "mean", "95 % interval", "galleries")
    for name, (mean, width) in figures_in_words(record).items():
        table.add_row(TITLES[name], mean, width, str(record.figures[name].galleries))
    console.print(table)


def figures_in_words(record: StreamRecord) -> dict[str, tuple[str, str]]:
    """Each figure's mean and the half-width of its interval as they are printed."""
    return {
        name: (_shown(name, figure.mean), "-" if figure.interval is None else f"± {_shown(name, figure.interval)}")
        for name, figure in record.figures.items()
    }


def compare_stream_records(a: Path, b: Path, as_json: bool) -> None:
    """Print each figure of both records, and the paired difference. Raises `record-invalid`, `galleries-differ`."""
    from maclip.evaluation.streams.record import compare_streams, read_stream_record

    found = compare_streams(read_stream_record(a), read_stream_record(b), str(a), str(b))
    if as_json:
        print_json([{**dataclasses.asdict(one), "separated": one.separated, "verdict": one.verdict} for one in found])
        return
    console = Console()
    console.print(escape(f"A  {a}\nB  {b}"), soft_wrap=True)
    table = Table("figure", "A", "B", "B - A", "95 %", "galleries", "B is")
    for one in found:
        means = [_shown(one.figure, value) for value in (one.mean_a, one.mean_b)]
        sign = "+" if one.difference is not None and one.difference > 0 else ""
        difference = f"{sign}{_shown(one.figure, one.difference)}"
        width = "-" if one.interval is None else f"± {_shown(one.figure, one.interval)}"
        table.add_row(TITLES[one.figure], *means, difference, width, str(one.galleries), one.verdict)
    console.print(table)


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name in SHARES:
        return f"{value:.1%}"
    return f"{value:.0f}" if name == "false_alarms_an_hour" else f"{value:.3f}" if name == "auroc" else f"{value:.2f}"
