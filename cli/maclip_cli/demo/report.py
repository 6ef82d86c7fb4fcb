"""`report.html`: the results of the demo in one self-contained file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from maclip.data.dataset import ActionClass, open_folders
from maclip.segments import Segment
from maclip_cli.demo.charts import accuracy_panel, confusion_picture, curve_panel, worst_confusions
from maclip_cli.demo.device_part import DeviceOutcome, Timeline
from maclip_cli.demo.folder import DemoFolder
from maclip_cli.demo.machine import machine_rows
from maclip_cli.demo.pictures import film_strip, stills
from maclip_cli.demo.plan import FROZEN, FULL, ROWS, Plan
from maclip_cli.demo.rows import FamilyOutcome
from maclip_cli.demo.screen import Step
from maclip_cli.demo.timeline import class_colour, class_numbers, timeline_picture
from maclip_cli.demo.words import ROW_TITLES, contributions, recognition, training_times
from maclip_runtime.decisions import UNKNOWN

TEMPLATE = "report.html.j2"
STRIPS_PER_FAMILY = 6
STILLS_AT = (0.08, 0.5, 0.92)  # of each action in the long video


@dataclass(frozen=True)
class Findings:
    """The content of the report."""

    plan: Plan
    folder: DemoFolder
    outcomes: Mapping[str, FamilyOutcome]
    device: DeviceOutcome
    steps: tuple[Step, ...]


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
    """The report as HTML; styles and images are embedded, nothing is loaded from elsewhere."""
    import jinja2
    from markupsafe import Markup

    here = Path(__file__).parent
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(here), autoescape=True, trim_blocks=True)
    plan, outcomes, device = findings.plan, findings.outcomes, findings.device
    chance = 1 / plan.way
    main = outcomes[plan.families[0].family]
    shot = plan.shots[0]
    confusion = main.rows[FULL].results[shot]
    panels = [
        (f"{name}, {one}-shot", Markup(accuracy_panel({row: o.rows[row].results[one] for row in ROWS}, chance, name)))
        for name, o in outcomes.items()
        for one in plan.shots
    ]
    return environment.get_template(TEMPLATE).render(
        style=Markup((here / "report.css").read_text(encoding="utf-8")),
        plan=plan,
        chance=chance,
        rows=ROWS,
        row_titles=ROW_TITLES,
        outcomes=outcomes,
        FROZEN=FROZEN,
        FULL=FULL,
        strips={one.family: _strips(findings.folder.clips / one.family) for one in plan.families},
        panels=panels,
        contributions=contributions(outcomes),
        training_times=training_times(outcomes),
        curves=[(name, Markup(curve_panel(o, chance))) for name, o in outcomes.items()],
        confusion=Markup(confusion_picture(confusion)),
        confusion_result=confusion,
        confusion_family=main.family,
        worst=worst_confusions(confusion),
        timeline=Markup(timeline_picture(device.timeline, _segment_stills(findings.folder.video, device.timeline))),
        timeline_rows=timeline_rows(device.timeline),
        device=device,
        recognition=recognition(device),
        unknown=UNKNOWN,
        machine=machine_rows(),
        steps=findings.steps,
        total_s=sum(step.seconds for step in findings.steps),
        settings=json.dumps(dataclasses.asdict(plan), indent=2, default=dict),
        root=findings.folder.root,
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


def _strips(clips: Path) -> list[Strip]:
    """One clip of each of some evenly spaced classes, test classes first."""
    classes = open_folders(clips).classes
    test = [one for one in classes if one.split == "test"]
    train = [one for one in classes if one.split == "train"]
    half = STRIPS_PER_FAMILY // 2
    chosen = [*_spread(test, half), *_spread(train, STRIPS_PER_FAMILY - half)]
    return [Strip(one.name, one.split or "", film_strip(one.clips[0])) for one in chosen]


def _spread(values: list[ActionClass], count: int) -> list[ActionClass]:
    return values[:: max(1, len(values) // max(count, 1))][:count]


def _segment_stills(video: Path, timeline: Timeline) -> list[list[str]]:
    def times(segment: Segment) -> list[float]:
        return [segment.start_s + share * (segment.end_s - segment.start_s) for share in STILLS_AT]

    return [stills(video, times(segment)) for segment in timeline.segments]
