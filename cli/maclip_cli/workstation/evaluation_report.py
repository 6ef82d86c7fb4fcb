"""`maclip eval --report`: one self-contained HTML file with accuracy by class, confusions, and strips of them."""

from __future__ import annotations

import base64
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from maclip_runtime.errors import MaclipError
from maclip_runtime.report.page import STYLE

if TYPE_CHECKING:
    from maclip.data.dataset import Dataset
    from maclip.evaluation.evaluator import Result
    from maclip.evaluation.record import Record
    from maclip.evaluation.streams.record import StreamRecord

MAX_PAIRS = 6  # of confused classes, with strips
MAX_CELLS = 40  # classes of a matrix; beyond that its cells are too small
MIN_SHOWN_SHARE = 0.005  # of a row; smaller shares get no number
EXTRA_STYLE = """
.bars { display: grid; grid-template-columns: minmax(8rem, 20rem) 1fr 4rem; gap: .25rem .8rem; align-items: center; }
.bars span:nth-child(3n) { text-align: right; font-variant-numeric: tabular-nums; }
.bar { height: .8rem; border-radius: 4px; background: oklch(0.64 0.14 250); min-width: 2px; }
.matrix { overflow-x: auto; } .matrix table { width: auto; font-size: 12px; }
.matrix th, .matrix td { padding: .2rem .4rem; text-align: center; border: 1px solid var(--line); min-width: 2rem; }
.matrix th:first-child { text-align: right; font-weight: 400; white-space: nowrap; }
.matrix thead th { font-weight: 400; } .wide { overflow-x: auto; } .wide td:last-child { text-align: left; }
"""


def write_report(path: Path, page: str) -> None:
    """Write the file, whole or not at all. Raises `output-unwritable`."""
    from maclip.writing import replacing

    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")


def page_of_episodes(record: Record, data: Dataset) -> str:
    """The report of an evaluation on episodes. `data`: where the strips of confused classes are from."""
    result = record.result
    about = (
        f"{record.model} on the {record.split} classes of {record.data}, {result.episodes:,} episodes, "
        f"text weight a = {result.fusion_weight:g}"
    )
    title = f"{result.way}-way {result.shot}-shot: {result.accuracy:.1%} ± {result.interval:.1%}"
    weights = "".join(
        f"<tr><td>{weight}</td><td>{share:.1%}</td></tr>" for weight, share in result.by_fusion_weight.items()
    )
    return _page(
        title,
        about,
        _section("Accuracy by class, the hardest first", f"<p>Chance is {1 / result.way:.0%}.</p>{_bars(record)}"),
        _section("Confused most often", _pairs(record, data)),
        _section("Answers", _matrix(result)),
        _section(
            "Other text weights",
            f"<p>0: frames only, 1: names only.</p><table><tr><th>a</th><th>accuracy</th></tr>{weights}</table>",
        ),
    )


def page_of_streams(record: StreamRecord, titles: dict[str, str], shown: dict[str, tuple[str, str]]) -> str:
    """The report of an evaluation on streams.

    titles: what each figure is called.
    shown: its mean and interval in words.
    """
    about = (
        f"{record.model} on the {record.split} videos of {record.streams}, {len(record.galleries)} galleries, windows "
        f"of {record.window_s:.2f} s, {record.hop_s:.2f} s apart"
    )
    rows = "".join(
        f"<tr><td>{escape(titles[name])}</td><td>{mean}</td><td>{interval}</td>"
        f"<td>{record.figures[name].galleries}</td></tr>"
        for name, (mean, interval) in shown.items()
    )
    galleries = "".join(
        f"<tr><td>{number}</td><td>{one.f1:.0%}</td><td>{one.precision:.0%}</td><td>{one.recall:.0%}</td>"
        f"<td>{one.false_alarms} in {one.hours * 60:.0f} min</td>"
        f"<td>{'-' if one.latency_s is None else f'{one.latency_s:.2f} s'}</td>"
        f"<td>{escape(', '.join(one.names))}</td></tr>"
        for number, one in enumerate(sorted(record.galleries, key=lambda one: one.f1), start=1)
    )
    head = "<tr><th>figure</th><th>mean</th><th>95 % interval</th><th>galleries</th></tr>"
    heads = "".join(
        f"<th>{name}</th>" for name in ("", "F1", "precision", "recall", "false alarms", "latency", "enrolled")
    )
    return _page(
        f"{record.way}-way {record.shot}-shot galleries on streams",
        about,
        _section("Figures", f"<table>{head}{rows}</table>"),
        _section("Galleries, the hardest first", f'<div class="wide"><table><tr>{heads}</tr>{galleries}</table></div>'),
    )


def _page(title: str, about: str, *sections: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>maclip evaluation</title>'
        f"<style>{STYLE}{EXTRA_STYLE}</style></head><body><h1>{escape(title)}</h1><p>{escape(about)}</p>"
        f"{''.join(sections)}</body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _bars(record: Record) -> str:
    lines = "".join(
        f'<span>{escape(name)}</span><span class="bar" style="width:{share:.1%}"></span><span>{share:.1%}</span>'
        for name, share in sorted(record.by_class.items(), key=lambda item: item[1])
    )
    return f'<div class="bars">{lines}</div>'


def _matrix(result: Result) -> str:
    """Shares of the answers to each class, in percent of its row."""
    if len(result.names) > MAX_CELLS:
        return (
            f"<p>{len(result.names)} classes are too many for a matrix here: --confusion FILE writes it as a table.</p>"
        )
    head = "".join(f'<th title="{escape(name, quote=True)}">{at}</th>' for at, name in enumerate(result.names, start=1))
    rows = []
    for at, (name, counts) in enumerate(zip(result.names, result.confusion, strict=True), start=1):
        total = max(1, sum(counts))
        cells = "".join(_cell(count / total, name, other) for count, other in zip(counts, result.names, strict=True))
        rows.append(f"<tr><th>{escape(name)} &nbsp;{at}</th>{cells}</tr>")
    return (
        "<p>Percent of the queries of a class (rows) that were answered as each class (columns).</p>"
        f'<div class="matrix"><table><thead><tr><th></th>{head}</tr></thead>{"".join(rows)}</table></div>'
    )


def _cell(share: float, name: str, other: str) -> str:
    hue = 250 if name == other else 25
    title = escape(f"{name}: {share:.1%} answered as {other}", quote=True)
    text = f"{100 * share:.0f}" if share >= MIN_SHOWN_SHARE else ""
    return f'<td title="{title}" style="background:oklch(0.64 0.14 {hue} / {min(1.0, share):.2f})">{text}</td>'


def _pairs(record: Record, data: Dataset) -> str:
    """The pairs of classes that are taken for each other most often, with a strip of each."""
    names, confusion = record.result.names, record.result.confusion
    found = []
    for row, name in enumerate(names):
        for column, other in enumerate(names):
            if row != column and confusion[row][column]:
                found.append((confusion[row][column] / sum(confusion[row]), name, other))
    clips = {one.name: one.clips for one in data.split(record.split)}
    shown = []
    for share, name, other in sorted(found, reverse=True)[:MAX_PAIRS]:
        strips = "".join(_strip(one, clips[one][0]) for one in (name, other) if clips.get(one))
        said = f"<b>{escape(name)}</b>: {share:.1%} answered as <b>{escape(other)}</b>"
        shown.append(f"<article><div>{said}</div>{strips}</article>")
    return "".join(shown) or "<p>None.</p>"


def _strip(name: str, clip: Path) -> str:
    """Eight frames of a clip as a picture in the page; nothing where it cannot be read."""
    from maclip_runtime.reading.clip import read_clip
    from maclip_runtime.reading.frames import segment_indices
    from maclip_runtime.reading.quality import STRIP_FRAMES, thumbnail

    try:
        frames = read_clip(clip, partial(segment_indices, frames=STRIP_FRAMES), lambda frame: frame).frames
    except MaclipError:
        return ""
    data = base64.b64encode(thumbnail(frames)).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="Frames of {escape(name, quote=True)}">'
