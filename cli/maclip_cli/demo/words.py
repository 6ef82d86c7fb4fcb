"""The results as sentences and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from maclip.shipped import ADAPTERS_ONLY, FULL, LADDER, PROTOTYPE_ONLY
from maclip_cli.demo.device_part import DeviceOutcome
from maclip_cli.demo.plan import BRIEF, BRIEF_PARTS, FROZEN, ORIGINS, PARTS, READY, row_name
from maclip_cli.demo.rows import Difference, RowOutcome
from maclip_runtime.decisions import UNKNOWN

PART_TITLES = {
    FROZEN: "frozen CLIP",
    PROTOTYPE_ONLY: "TPCM only",
    ADAPTERS_ONLY: "adapters only",
    FULL: "full (both)",
    LADDER: "TPCM and ladder",
}
ORIGIN_TITLES = {BRIEF: "trained here", READY: "shipped"}
# What is compared, by part and what it is compared with.
GAIN_TITLES = {
    (PROTOTYPE_ONLY, FROZEN): "TPCM over frozen",
    (ADAPTERS_ONLY, FROZEN): "adapters over frozen",
    (FULL, PROTOTYPE_ONLY): "adapters on TPCM",
    (FULL, ADAPTERS_ONLY): "TPCM on adapters",
    (LADDER, PROTOTYPE_ONLY): "ladder on TPCM",
    (LADDER, FULL): "ladder over full",
}
DRAWN = (
    "All clips and videos are drawn, and the CLIP is a tiny one that knows only such drawings. The programs that "
    "train, export, enroll and recognise are the real ones. The figures say nothing about real video."
)


def row_title(row: str) -> str:
    """The title of a row, such as "trained here, TPCM only"."""
    origin, _, part = row.partition("-")
    return PART_TITLES[row] if row in PART_TITLES else f"{ORIGIN_TITLES[origin]}, {PART_TITLES[part]}"


def row_of(origin: str, part: str) -> str:
    """The row of `part` in the columns of `origin`; frozen CLIP is the same in all."""
    return FROZEN if part == FROZEN else row_name(origin, part)


def accuracy_table(rows: Mapping[str, RowOutcome], way: int) -> Table:
    """Accuracies with intervals: a row for each part, a column for each origin and shot."""
    columns = [(origin, shot) for origin in ORIGINS for shot in rows[FROZEN].results]
    made = Table(title=f"Accuracy on unseen motions, {way}-way (chance {1 / way:.0%})", title_justify="left")
    made.add_column("")
    for origin, shot in columns:
        made.add_column(f"{ORIGIN_TITLES[origin]}\n{shot}-shot", justify="right")
    for part in (FROZEN, *PARTS):
        there = [(rows.get(row_of(origin, part)), shot) for origin, shot in columns]
        found = [row.results[shot] if row else None for row, shot in there]
        made.add_row(PART_TITLES[part], *(f"{r.accuracy:.1%} ± {r.interval * 100:.1f}" if r else "" for r in found))
    return made


def gain_table(found: Sequence[Difference], shots: Sequence[int]) -> Table:
    """What each part brings, in points with intervals: a column for each origin and shot."""
    made = Table(title="What each part brings, in points", title_justify="left")
    made.add_column("")
    for origin in ORIGINS:
        for shot in shots:
            made.add_column(f"{ORIGIN_TITLES[origin]}\n{shot}-shot", justify="right")
    for title, cells in gain_rows(found, shots):
        made.add_row(title, *(gain(one) for one in cells))
    return made


def gain_rows(found: Sequence[Difference], shots: Sequence[int]) -> list[tuple[str, list[Difference | None]]]:
    """The rows of `gain_table`: title, and a difference for each origin and shot, None where it was not trained."""
    by = {(one.row, one.than, one.shot): one for one in found}
    return [
        (title, [by.get((row_name(origin, part), row_of(origin, than), shot)) for origin in ORIGINS for shot in shots])
        for (part, than), title in GAIN_TITLES.items()
    ]


def gain(difference: Difference | None) -> str:
    """A difference in accuracy in words: "+45.1 ± 1.2", with "(?)" behind it where the interval includes zero."""
    if difference is None:
        return ""
    points = round(difference.accuracy * 100, 1) + 0.0  # + 0.0: no "-0.0"
    words = f"{points:+.1f} ± {difference.interval * 100:.1f}"
    return words if difference.significant else f"{words} (?)"


def training_times(rows: Mapping[str, RowOutcome], card: Mapping[str, Any]) -> list[str]:
    """How long the trainings took, here and of the shipped runs."""
    here = ", ".join(f"{PART_TITLES[part]} {rows[row_name(BRIEF, part)].training_s:.0f} s" for part in BRIEF_PARTS)
    shipped = ", ".join(f"{PART_TITLES[part]} {card['runs'][part]['hours']:.1f} h" for part in PARTS)
    return [
        f"Trained here: {here}; the full model begins with TPCM's training and continues it with adapters.",
        f"Shipped: {shipped}, on {card['data']['classes']['train']} motions ({card['command']}).",
    ]


def recognition(device: DeviceOutcome) -> list[str]:
    """Results of the exported bundle: the long video, then clips."""
    timeline = device.timeline
    alarms = len(timeline.false_alarms())
    sentences = [
        f"Long video: {timeline.right()} of {len(timeline.segments)} actions answered correctly, "
        f"{alarms} false alarm{'' if alarms == 1 else 's'}; {timeline.duration_s:.0f} s of video "
        f"watched in {timeline.watching_s:.1f} s."
    ]
    known = [answer for answer in device.answers if answer.truth is not None]
    others = [answer for answer in device.answers if answer.truth is None]
    if known:
        right = sum(answer.right for answer in known)
        refused = sum(answer.label == UNKNOWN for answer in known)
        sentences.append(
            f"Clips of the {len(device.enrolled)} enrolled actions: {right} of {len(known)} correct, "
            f'{len(known) - right - refused} taken for another action, {refused} answered "unknown".'
        )
    if others:
        refused = sum(answer.right for answer in others)
        sentences.append(f'Clips of actions not enrolled: {refused} of {len(others)} answered "unknown".')
    return sentences
