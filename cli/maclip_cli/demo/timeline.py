"""The timeline of the long video as SVG: true actions, recognised actions."""

from __future__ import annotations

from maclip_cli.demo.device_part import Timeline
from maclip_cli.demo.svg import line, picture, rect, text
from maclip_runtime.decisions import UNKNOWN

WIDTH, LEFT, RIGHT = 1040.0, 84.0, 1030.0  # units; labels are left of LEFT
BAR = 28.0
COLOURS = 8  # --class-1 ... in the style sheet


def timeline_picture(timeline: Timeline) -> str:
    """A bar of true actions, and a bar of recognised actions, as SVG.

    The number in a bar is that of the class; classes not enrolled are dashed, "unknown" is a thin grey bar, and a
    false alarm has a red frame.
    """
    seconds = max(timeline.duration_s, 1e-6)
    truth_y = 8.0
    found_y = truth_y + BAR + 12
    axis_y = found_y + BAR + 12

    def x(time_s: float) -> float:
        return LEFT + (RIGHT - LEFT) * min(max(time_s / seconds, 0.0), 1.0)

    parts = [text(0, truth_y + 19, "true", "label"), text(0, found_y + 19, "answers", "label")]
    parts.append(rect(LEFT, truth_y, RIGHT - LEFT, BAR, "var(--empty)", rx=3))
    parts.append(rect(LEFT, found_y, RIGHT - LEFT, BAR, "var(--empty)", rx=3))
    numbers = class_numbers(timeline)
    for segment in timeline.segments:
        enrolled = segment.name in timeline.enrolled
        tooltip = (
            f"{segment.name}{'' if enrolled else ' (not enrolled)'}, {segment.start_s:.1f} to {segment.end_s:.1f} s"
        )
        parts += _bar(x(segment.start_s), x(segment.end_s), truth_y, numbers[segment.name], enrolled, tooltip)
    alarms = timeline.false_alarms()
    for stretch in timeline.stretches:
        tooltip = f"{stretch.label}, score {stretch.score:.2f}, {stretch.start_s:.1f} to {stretch.end_s:.1f} s"
        if stretch.label == UNKNOWN:
            width = x(stretch.end_s) - x(stretch.start_s)
            parts.append(rect(x(stretch.start_s), found_y + 8, width, BAR - 16, "var(--unknown)", tooltip, rx=3))
        else:
            class_ = "false-alarm" if stretch in alarms else None
            parts += _bar(x(stretch.start_s), x(stretch.end_s), found_y, numbers[stretch.label], True, tooltip, class_)
    every = 5 if seconds > 12 else 1
    for tick in range(0, int(seconds) + 1, every):
        parts.append(line(x(tick), axis_y - 6, x(tick), axis_y - 1, "axis"))
        parts.append(text(x(tick), axis_y + 12, f"{tick} s", "tick", "middle"))
    label = f"Timeline: {timeline.right()} of {len(timeline.segments)} actions of the long video recognised correctly"
    return picture(WIDTH, axis_y + 18, parts, label, "timeline")


def class_numbers(timeline: Timeline) -> dict[str, int]:
    """The number of each class in the timeline: in order of occurrence, then the other enrolled classes."""
    names = [*(segment.name for segment in timeline.segments), *timeline.enrolled]
    names += [stretch.label for stretch in timeline.stretches if stretch.label != UNKNOWN]
    return {name: number for number, name in enumerate(dict.fromkeys(names), start=1)}


def class_colour(number: int) -> str:
    """The colour of a class, as CSS."""
    return f"var(--class-{(number - 1) % COLOURS + 1})"


def _bar(
    start: float, end: float, y: float, number: int, enrolled: bool, tooltip: str, class_: str | None = None
) -> list[str]:
    if not enrolled:
        box = rect(start, y, end - start, BAR, "var(--unknown)", tooltip, rx=3, class_="not-enrolled")
        return [box, text((start + end) / 2, y + 19, f"{number} ?", "label", "middle")]
    box = rect(start, y, end - start, BAR, class_colour(number), tooltip, rx=3, class_=class_)
    return [box, text((start + end) / 2, y + 19, str(number), "on-class", "middle")]
