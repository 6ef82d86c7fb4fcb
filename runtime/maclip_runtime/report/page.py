"""The report as HTML: no script, nothing loaded from elsewhere, light and dark."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from maclip_runtime.decisions import UNCERTAIN, UNKNOWN, Event

if TYPE_CHECKING:
    from maclip_runtime.report.collecting import Report, SourceRecord

WIDTH, MATCH_HEIGHT, LANE = 1000, 120, 22  # units of the drawings
MARGIN = 26
GUTTER = 210  # at the left, for the names of lanes
PAD = 4  # so that dots at the edges are whole
MAX_NAME = 34  # characters of a lane's name
HUE_STEP = 137.508  # degrees: hues that follow each other so lie far apart
STYLE = """
:root { --ground: #f4f5f8; --surface: #fff; --line: #dde1e8; --text: #171a21; --muted: #5a6372;
  color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0e1014; --surface: #171a20; --line: #2c323d; --text: #e9ecf2; --muted: #a1a9b8; }
}
body { margin: 0 auto; padding: 2rem 1rem; max-width: 66rem; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 0 0 .6rem; overflow-wrap: anywhere; }
section { background: var(--surface); border: 1px solid var(--line); border-radius: 12px; padding: 1rem;
  margin: 1rem 0; }
p, figcaption { color: var(--muted); margin: .2rem 0 .8rem; }
svg { width: 100%; height: auto; display: block; } svg text { font-size: 11px; fill: var(--muted); }
svg .grid { stroke: var(--line); } svg .limit { stroke: var(--text); stroke-dasharray: 4 4; opacity: .5; }
article { display: grid; gap: .3rem; padding: .7rem 0; border-bottom: 1px solid var(--line); }
article:last-child { border: 0; } article img { max-width: 100%; border-radius: 7px; }
i { width: .7em; height: .7em; border-radius: 50%; display: inline-block; margin-right: .5em; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .35rem .8rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
"""


def page_of(report: Report) -> str:
    """The whole file."""
    names = {event.label for record in report.sources.values() for event in record.events.values()}
    names |= {nearest for record in report.sources.values() for _, _, nearest, _ in record.answers}
    hues = {name: (250 + HUE_STEP * place) % 360 for place, name in enumerate(sorted(names - {UNKNOWN, UNCERTAIN}))}
    made = time.strftime("%Y-%m-%d %H:%M")
    body = "".join(_source(name, record, hues) for name, record in report.sources.items())
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>maclip report</title>'
        f"<style>{STYLE}</style></head><body><h1>What happened</h1><p>maclip, {made}</p>{body}{_times(report)}"
        "</body></html>\n"
    )


def _source(name: str, record: SourceRecord, hues: dict[str, float]) -> str:
    events = list(record.events.values())
    actions = [event for event in events if not event.reason and not event.withdrawn]
    counts: dict[str, int] = {}
    for event in actions:
        counts[event.label] = counts.get(event.label, 0) + 1
    said = ", ".join(f"{escape(label)} {count}" for label, count in sorted(counts.items())) or "no action"
    shown = "".join(_event(event, record.strips.get(event.id), hues) for event in events if not event.reason)
    return (
        f"<section><h2>{escape(name)}</h2><p>{record.end_s:.1f} s: {said}</p>"
        f"{_timeline(record, events, hues)}{_match(record, hues)}{shown}</section>"
    )


def _timeline(record: SourceRecord, events: Sequence[Event], hues: dict[str, float]) -> str:
    """A lane for each label, with a block for each event."""
    labels = sorted({event.label for event in events}, key=lambda label: (label not in hues, label))
    height = LANE * max(1, len(labels)) + MARGIN
    parts = [_axis(record.end_s, height)]
    for row, label in enumerate(labels):
        y = row * LANE
        for event in (one for one in events if one.label == label):
            left, right = _x(event.start_s, record.end_s), _x(event.end_s, record.end_s)
            faint = ' opacity="0.3"' if event.withdrawn else ""
            title = f"{label}, {event.start_s:.1f} to {event.end_s:.1f} s, match {event.match:.2f}"
            parts.append(
                f'<rect x="{left:.1f}" y="{y + 3}" width="{max(2.0, right - left):.1f}" height="{LANE - 6}" rx="4" '
                f'fill="{_colour(label, hues)}"{faint}><title>{escape(title)}</title></rect>'
            )
        parts.append(f'<text x="4" y="{y + LANE - 7}">{escape(_short(label))}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Timeline of events">{"".join(parts)}</svg>'


def _match(record: SourceRecord, hues: dict[str, float]) -> str:
    """The match of the nearest class over time; dots have its colour, and are grey where the answer is no class."""
    height = MATCH_HEIGHT + 2 * PAD + MARGIN
    half = PAD + MATCH_HEIGHT / 2
    dots = "".join(
        f'<circle cx="{_x(at, record.end_s):.1f}" cy="{PAD + MATCH_HEIGHT * (1 - match):.1f}" r="2.2" '
        f'fill="{_colour(label, hues)}"><title>{escape(nearest)} {match:.2f}</title></circle>'
        for at, label, nearest, match in record.answers
    )
    return (
        f'<figure style="margin:1rem 0"><figcaption>Match of the nearest class over time; the line at 0.5 is its limit.'
        f'</figcaption><svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Match over time">'
        f'{_axis(record.end_s, height)}<line class="limit" x1="{GUTTER}" x2="{WIDTH}" y1="{half}" y2="{half}"/>{dots}'
        "</svg></figure>"
    )


def _event(event: Event, strip: bytes | None, hues: dict[str, float]) -> str:
    picture = ""
    if strip is not None:
        data = base64.b64encode(strip).decode()
        picture = f'<img src="data:image/jpeg;base64,{data}" alt="Frames of {escape(event.label, quote=True)}">'
    withdrawn = ", a false start" if event.withdrawn else ""
    return (
        f'<article><div><i style="background:{_colour(event.label, hues)}"></i><b>{escape(event.label)}</b> '
        f"{event.start_s:.1f} to {event.end_s:.1f} s, match {event.match:.2f}{withdrawn}</div>{picture}</article>"
    )


def _times(report: Report) -> str:
    """A table of the stages' times."""
    rows = [("frame to answer", report.latencies), *report.stages.items()]
    cells = "".join(
        f"<tr><td>{escape(name)}</td><td>{1000 * np.percentile(times, 50):.1f}</td>"
        f"<td>{1000 * np.percentile(times, 99):.1f}</td><td>{len(times)}</td></tr>"
        for name, times in ((name, list(times)) for name, times in rows)
        if times
    )
    head = "<tr><th>stage</th><th>median ms</th><th>99 % ms</th><th>times</th></tr>"
    return f"<section><h2>Latencies</h2><table>{head}{cells}</table></section>" if cells else ""


def _axis(end_s: float, height: float) -> str:
    """Vertical lines at round times."""
    step = next((one for one in (1, 2, 5, 10, 30, 60, 300, 600, 3600) if end_s / one <= 12), 36000)
    parts = []
    for at in range(0, int(end_s) + 1, step):
        x = _x(at, end_s)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - 14}"/>')
        parts.append(f'<text x="{x + 3:.1f}" y="{height - 3}">{at // 60}:{at % 60:02}</text>')
    return "".join(parts)


def _x(time_s: float, end_s: float) -> float:
    return GUTTER + (WIDTH - GUTTER) * min(1.0, max(0.0, time_s / max(end_s, 1e-6)))


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"


def _colour(label: str, hues: dict[str, float]) -> str:
    return f"oklch(0.64 0.14 {hues[label]:.0f})" if label in hues else "#8a919e"
