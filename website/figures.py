"""The page of charts, drawn from the committed JSON of benchmarks/results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

WIDTH, ROW, LABEL, VALUE = 720, 26, 270, 80  # px


@dataclass(frozen=True)
class Bar:
    """One bar: its name, its value, and the text at its end. `strong`: the one to look at."""

    name: str
    value: float
    shown: str
    strong: bool = False


def figures_page(results: Path) -> str:
    """The page as Markdown with drawings in it."""

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
        return found

    parts = [
        "# Performance at a glance",
        "Every chart is drawn from the JSON that a command of the project wrote; [What was measured](performance.md) "
        "names the command, the machine and what else ran beside it. Times are those of 2 CPU cores without a GPU. "
        "Accuracies are those of drawn clips and the tiny CLIP of the package.",
        *_steps(read),
        *_stages(read("device_vit_b16_int8")),
        *_streams(read("events")),
        *_training(read("bench_train")),
        *_archive(read("archive")),
        "## All results",
        "| file | measured | commit |\n| --- | --- | --- |\n"
        + "\n".join(_row(path) for path in sorted(results.glob("*.json"))),
    ]
    return "\n\n".join(parts) + "\n"


def _steps(read: Any) -> list[str]:
    parts = [
        "## A step of a stream",
        "Milliseconds from a new frame to the answer for its window, median; lower is better.",
    ]
    for title, name in (
        ("ViT-B/16", "streaming_vit_b16"),
        ("ViT-B/32", "streaming_vit_b32"),
        ("MobileCLIP-B's ViT", "streaming_mobileclip_b"),
    ):
        rows = sorted(read(name)["rows"], key=lambda row: row["p50_ms"])
        bars = [
            Bar(
                f"{row['runner'].removeprefix('maclip-run, ')}, {row['precision']}",
                row["p50_ms"],
                f"{row['p50_ms']:,.0f} ms",
                place == 0,
            )
            for place, row in enumerate(rows)
        ]
        parts += [f"### {title}", bar_chart(bars)]
    return parts


def _engine(row: dict[str, Any]) -> str:
    return str(row["runner"]).removeprefix("maclip-run, ").removesuffix(", whole window")


def _stages(measured: dict[str, Any]) -> list[str]:
    stages = measured["streaming"]["stages"]
    bars = [
        Bar(name, times["p50"], f"{times['p50']:.3g} ms", name in ("stem", "tower")) for name, times in stages.items()
    ]
    return [
        "## Where a step's time goes",
        "ViT-B/16 in int8: nearly all of it is the network (stem and tower).",
        bar_chart(bars),
    ]


def _streams(measured: dict[str, Any]) -> list[str]:
    bars = [
        Bar(f"{key}, {name} classes", found["streams"][key], f"{found['streams'][key]:.0%}", key == "recall")
        for name, found in measured["sets"].items()
        for key in ("recall", "precision")
    ]
    return [
        "## Events on streams",
        "Recall: how many of the actions are found. Precision: how many of the reported events are right. Galleries of "
        "three clips a class watch drawn video, in which half of what happens was never enrolled.",
        bar_chart(bars),
    ]


def _training(measured: dict[str, Any]) -> list[str]:
    rows = [row for row in measured["rows"] if row["failed"] is None]
    bars = [
        Bar(
            row["name"],
            row["episodes_per_second"]["median"],
            f"{row['episodes_per_second']['median']:.3g}",
            row["key"] == "cached",
        )
        for row in rows
    ]
    return ["## Training", "Episodes a second of ViT-B/32, 5-way 1-shot; higher is better.", bar_chart(bars)]


def _archive(measured: dict[str, Any]) -> list[str]:
    found = measured["find"]
    words = {
        "open": "open the store",
        "query": "encode the query",
        "coarse": "compare all means",
        "exact": "measure the best exactly",
    }
    bars = [Bar(words[key], seconds, f"{seconds:.2f} s") for key, seconds in found["seconds"].items() if key in words]
    return [
        "## Searching video",
        f"Finding an action in {found['windows']:,} windows, which is 50 hours at two windows a second, takes "
        f"{found['seconds']['all']:.1f} s.",
        bar_chart(bars),
    ]


def bar_chart(bars: Sequence[Bar]) -> str:
    """A drawing of horizontal bars from zero, in the colours of the page."""
    most = max(bar.value for bar in bars) or 1.0
    height = ROW * len(bars)
    lines = [f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(_said(bars))}">']
    for place, bar in enumerate(bars):
        y = place * ROW
        width = max(1.0, (WIDTH - LABEL - VALUE) * bar.value / most)
        kind = "bar strong" if bar.strong else "bar"
        lines += [
            f'<text class="label" x="{LABEL - 10}" y="{y + 17}" text-anchor="end">{escape(bar.name)}</text>',
            f'<rect class="{kind}" x="{LABEL}" y="{y + 4}" width="{width:.1f}" height="{ROW - 8}" rx="2"/>',
            f'<text class="value" x="{LABEL + width + 8:.1f}" y="{y + 17}">{escape(bar.shown)}</text>',
        ]
    return f'<figure markdown="0">{"".join(lines)}</svg></figure>'


def _said(bars: Sequence[Bar]) -> str:
    return "; ".join(f"{bar.name}: {bar.shown}" for bar in bars)


def _row(path: Path) -> str:
    machine = json.loads(path.read_text(encoding="utf-8")).get("machine", {})
    commit = str(machine.get("commit") or "")[:7]
    where = f"../benchmarks/results/{path.name}"
    return f"| [{path.name}]({where}) | {str(machine.get('measured', ''))[:10]} | {f'`{commit}`' if commit else ''} |"
