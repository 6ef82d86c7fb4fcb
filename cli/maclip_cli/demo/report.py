"""`report.html`: the results of the demo in one self-contained file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maclip.data.dataset import ActionClass, open_folders
from maclip.shipped import FULL, PROTOTYPE_ONLY
from maclip_cli.demo.charts import accuracy_panel, confusion_picture, curve_panel, worst_confusions
from maclip_cli.demo.device_part import DeviceOutcome, Timeline
from maclip_cli.demo.folder import DemoFolder
from maclip_cli.demo.machine import machine_rows
from maclip_cli.demo.pictures import film_strip, jpeg_uri, video_uri
from maclip_cli.demo.plan import BRIEF, BRIEF_PARTS, FROZEN, ORIGINS, PARTS, READY, Plan, row_name
from maclip_cli.demo.rows import Difference, RowOutcome
from maclip_cli.demo.screen import Step
from maclip_cli.demo.timeline import class_colour, class_numbers, timeline_picture
from maclip_cli.demo.watched import poster
from maclip_cli.demo.words import (
    DRAWN,
    ORIGIN_TITLES,
    PART_TITLES,
    gain,
    gain_rows,
    recognition,
    row_of,
    training_times,
)
from maclip_runtime.decisions import UNKNOWN

TEMPLATE = "report.html.j2"
STRIPS = 6


@dataclass(frozen=True)
class Findings:
    """The content of the report; `card` is the model card of the shipped runs."""

    plan: Plan
    folder: DemoFolder
    rows: Mapping[str, RowOutcome]
    differences: Sequence[Difference]
    device: DeviceOutcome
    steps: tuple[Step, ...]
    card: Mapping[str, Any]


@dataclass(frozen=True)
class Strip:
    """A clip as images: name and split of its class, and its frames as data URIs."""

    name: str
    split: str
    frames: list[str]


@dataclass(frozen=True)
class TimelineRow:
    """One action of the long video, as a row of a table."""

    number: int
    colour: str
    name: str
    enrolled: bool
    when: str
    answer: str
    right: bool


def render(findings: Findings) -> str:
    """The report as HTML; styles, images and the video are embedded, nothing is loaded from elsewhere."""
    import jinja2
    from markupsafe import Markup

    here = Path(__file__).parent
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(here), autoescape=True, trim_blocks=True)
    plan, folder, rows, device, card = (
        findings.plan, findings.folder, findings.rows, findings.device, findings.card,
    )  # fmt: skip
    chance = 1 / plan.way
    exported = rows[row_name(READY, card["exported"])]
    confusion = exported.results[plan.shots[0]]
    panels = [
        (
            f"{ORIGIN_TITLES[origin]}, {shot}-shot",
            Markup(accuracy_panel(_by_part(rows, origin, shot), chance, f"{ORIGIN_TITLES[origin]}, {shot}-shot")),
        )
        for shot in plan.shots
        for origin in ORIGINS
    ]
    return environment.get_template(TEMPLATE).render(
        style=Markup((here / "report.css").read_text(encoding="utf-8")),
        plan=plan,
        card=card,
        drawn=DRAWN,
        chance=chance,
        poster=jpeg_uri(poster(device.timeline, folder.video)),
        video=video_uri(folder.watched),
        timeline=Markup(timeline_picture(device.timeline)),
        timeline_rows=timeline_rows(device.timeline),
        device=device,
        recognition=recognition(device),
        unknown=UNKNOWN,
        facts=_facts(findings, exported),
        rows=rows,
        parts=(FROZEN, *PARTS),
        brief_parts=(FROZEN, *BRIEF_PARTS),
        part_titles=PART_TITLES,
        origins=ORIGINS,
        origin_titles=ORIGIN_TITLES,
        row_of=row_of,
        gains=[(title, [gain(one) for one in cells]) for title, cells in gain_rows(findings.differences, plan.shots)],
        panels=panels,
        training_times=training_times(rows, card),
        curve=Markup(
            curve_panel(rows, {row_name(BRIEF, FULL): row_name(BRIEF, PROTOTYPE_ONLY)}, chance),
        ),
        confusion=Markup(confusion_picture(confusion)),
        confusion_result=confusion,
        exported_title=PART_TITLES[card["exported"]],
        worst=worst_confusions(confusion),
        strips=_strips(folder.motion_clips),
        machine=machine_rows(),
        steps=findings.steps,
        total_s=sum(step.seconds for step in findings.steps),
        settings=json.dumps(dataclasses.asdict(plan), indent=2, default=dict),
        root=folder.root,
    )


def timeline_rows(timeline: Timeline) -> list[TimelineRow]:
    """The actions of the long video in order, with the recognised labels."""
    numbers = class_numbers(timeline)
    return [
        TimelineRow(
            numbers[segment.name],
            class_colour(numbers[segment.name]),
            segment.name,
            segment.name in timeline.enrolled,
            f"{segment.start_s:.1f}–{segment.end_s:.1f} s",
            timeline.answer_for(segment),
            timeline.answer_for(segment) == timeline.truth_of(segment),
        )
        for segment in timeline.segments
    ]


def _facts(findings: Findings, exported: RowOutcome) -> list[tuple[str, str]]:
    """The figures under the video: value, and what it is."""
    timeline = findings.device.timeline
    alarms = len(timeline.false_alarms())
    everything = findings.device.latencies[-1]
    return [
        (f"{timeline.right()} of {len(timeline.segments)}", "actions of the video answered correctly"),
        (str(alarms), "false alarm" if alarms == 1 else "false alarms"),
        *(
            (f"{result.accuracy * 100:.0f}%", f"of clips right, {result.way} unseen motions, {shot}-shot")
            for shot, result in exported.results.items()
        ),
        (f"{everything.median_ms:.0f} ms", "for a clip, on one processor"),
    ]


def _by_part(rows: Mapping[str, RowOutcome], origin: str, shot: int) -> dict[str, Any]:
    named = {part: rows.get(row_of(origin, part)) for part in (FROZEN, *PARTS)}
    return {part: row.results[shot] for part, row in named.items() if row}


def _strips(clips: Path) -> list[Strip]:
    """One clip of each of some evenly spaced classes, test classes first."""
    classes = open_folders(clips).classes
    half = STRIPS // 2
    chosen = [one for split in ("test", "train") for one in _spread([c for c in classes if c.split == split], half)]
    return [Strip(one.name, one.split or "", film_strip(one.clips[0])) for one in chosen]


def _spread(values: list[ActionClass], count: int) -> list[ActionClass]:
    return values[:: max(1, len(values) // max(count, 1))][:count]
