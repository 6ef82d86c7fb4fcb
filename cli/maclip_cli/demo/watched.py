"""The long video with the answers drawn on: as a video, and as an animated picture.

Each picture shows what the device had told by then: the action that it reports now, and below it the timeline so far.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from maclip.world.clips import RATE
from maclip.world.video import encode, write_whole
from maclip_cli.demo.device_part import Timeline
from maclip_cli.demo.timeline import class_numbers
from maclip_runtime.decisions import UNCERTAIN, UNKNOWN, Event
from maclip_runtime.overlay.fonts import fit, font_for, length
from maclip_runtime.reading.clip import read_clip
from maclip_runtime.reading.frames import Pixels

WIDTH, HEIGHT = 640, 456  # px, even
EDGE, VIEW = 16, 288  # px: margin, and side of the picture
LIST_X, LIST_ROW = EDGE + VIEW + EDGE, 41
BAR_Y, BAR_HEIGHT = EDGE + VIEW + 12, 42  # of the answer
LINE_X, TRUE_Y, TOLD_Y, LINE_HEIGHT = 84, 378, 408, 24  # of the two lines of the timeline
MAX_ANIMATION_BYTES = 2_400_000
QUALITIES = (60, 40, 25)  # of the animation: the first that is small enough

Colour = tuple[int, int, int]
GROUND, CARD, LINE = (22, 24, 29), (34, 38, 45), (60, 65, 74)
WHITE, SOFT, GREY = (255, 255, 255), (165, 172, 182), (112, 120, 131)
# Those of the report's classes, lighter.
COLOURS: tuple[Colour, ...] = (
    *((74, 137, 198), (208, 118, 52), (88, 158, 80), (201, 88, 132)),
    *((142, 114, 201), (42, 150, 142), (163, 135, 40), (140, 118, 101)),
)


@dataclass(frozen=True)
class Moment:
    """What the device had told by a moment.

    now: the label of the action that it reports, or "unknown"; "" before it said anything.
    spans: label, start and end in seconds, of everything that it told.
    """

    now: str
    spans: tuple[tuple[str, float, float], ...]


def moment(timeline: Timeline, time_s: float) -> Moment:
    """What had been told by `time_s`."""
    latest: dict[str, Event] = {}
    for told in timeline.told:
        if told.time_s <= time_s:
            latest[told.event.id] = told.event
    open_ = [event for event in latest.values() if event.kind != "end"]
    classes = [event.label for event in open_ if event.label not in (UNKNOWN, UNCERTAIN)]
    now = classes[-1] if classes else UNKNOWN if latest else ""
    spans = tuple(
        (event.label, event.start_s, max(event.end_s, time_s) if event.kind != "end" else event.end_s)
        for event in latest.values()
        if not event.withdrawn
    )
    return Moment(now, spans)


def write_watched(video: Path, timeline: Timeline, out: Path, animation: Path) -> None:
    """Write the long video with the answers drawn on. Raises `output-unwritable`.

    video: the long video.
    timeline: what happens in it, and what was told.
    out: an mp4 file.
    animation: a WebP file of at most `MAX_ANIMATION_BYTES`, half as many pictures a second.
    """
    pictures = list(_pictures(video, timeline))
    write_whole(out, encode((np.asarray(one) for one in pictures), RATE))
    for quality in QUALITIES:
        content = _animated(pictures[::2], quality)
        if len(content) <= MAX_ANIMATION_BYTES:
            break
    write_whole(animation, content)


def poster(timeline: Timeline, video: Path) -> Pixels:
    """The picture in which the most has been recognised of the first action that was: uint8 [H, W, 3]."""
    told = [one.time_s for one in timeline.told if one.event.kind == "start" and one.event.label in timeline.enrolled]
    index = round((told[-1] if told else timeline.duration_s / 2) * RATE) + 1
    pictures = list(_pictures(video, timeline, only=index))
    return np.asarray(pictures[-1])


def _animated(pictures: Sequence[Image.Image], quality: int) -> bytes:
    file = io.BytesIO()
    pictures[0].save(
        file,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=2000 // RATE,
        loop=0,
        quality=quality,
        method=2,
    )
    return file.getvalue()


def _pictures(video: Path, timeline: Timeline, only: int | None = None) -> Iterator[Image.Image]:
    frames = read_clip(video, lambda total: np.arange(total)).frames
    painter = _Painter(timeline)
    for index, pixels in enumerate(frames):
        if only is None or index == min(only, len(frames) - 1):
            yield painter.paint(pixels, index / RATE)


class _Painter:
    """Paints pictures; what never changes is painted once."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._numbers = class_numbers(timeline)
        self._seconds = max(timeline.duration_s, 1e-6)
        self._ground = Image.new("RGB", (WIDTH, HEIGHT), GROUND)
        draw = ImageDraw.Draw(self._ground)
        _write(draw, LIST_X, EDGE + 8, "Enrolled, from a few clips each", 12, SOFT)
        for at, name in enumerate(timeline.enrolled):
            self._entry(draw, at, name, told=False)
        for y, words in ((TRUE_Y, "true"), (TOLD_Y, "answers")):
            _write(draw, EDGE, y + LINE_HEIGHT / 2, words, 13, SOFT)
            draw.rounded_rectangle((LINE_X, y, WIDTH - EDGE, y + LINE_HEIGHT), 4, CARD)
        for segment in timeline.segments:
            self._span(draw, segment.name, segment.start_s, segment.end_s, TRUE_Y)
        words = "“?”: not enrolled. Thin grey: the answer “unknown”."
        _write(draw, LINE_X, HEIGHT - 11, words, 11, SOFT)
        _write(draw, WIDTH - EDGE, HEIGHT - 11, f"{self._seconds:.0f} s", 11, SOFT, "rm")

    def paint(self, pixels: Pixels, time_s: float) -> Image.Image:
        """A frame of the video, uint8 [H, W, 3], and what was told by `time_s`."""
        picture, now = self._ground.copy(), moment(self._timeline, time_s)
        view = Image.fromarray(pixels).resize((VIEW, VIEW), Image.Resampling.BICUBIC)
        picture.paste(view, (EDGE, EDGE))
        draw = ImageDraw.Draw(picture)
        if now.now in self._timeline.enrolled:
            self._entry(draw, self._timeline.enrolled.index(now.now), now.now, told=True)
        colour = self._colour(now.now) if now.now else CARD
        draw.rounded_rectangle((EDGE, BAR_Y, WIDTH - EDGE, BAR_Y + BAR_HEIGHT), 8, colour)
        _write(draw, EDGE + 16, BAR_Y + BAR_HEIGHT / 2, now.now or "…", 21, WHITE)
        for label, start_s, end_s in now.spans:
            self._span(draw, label, start_s, end_s, TOLD_Y)
        x = self._x(time_s)
        draw.line((x, TRUE_Y - 5, x, TOLD_Y + LINE_HEIGHT + 4), WHITE, 2)
        return picture

    def _entry(self, draw: ImageDraw.ImageDraw, at: int, name: str, *, told: bool) -> None:
        """A row of the list of enrolled actions; `told`: it is the answer now."""
        top = EDGE + 24 + at * (LIST_ROW + 3)
        colour = self._colour(name)
        draw.rounded_rectangle((LIST_X, top, WIDTH - EDGE, top + LIST_ROW), 7, colour if told else CARD)
        chip = (LIST_X + 8, top + 9, LIST_X + 32, top + LIST_ROW - 9)
        draw.rounded_rectangle(chip, 5, WHITE if told else colour)
        number = str(self._numbers[name])
        middle = top + LIST_ROW / 2
        _write(draw, LIST_X + 20, middle, number, 13, colour if told else WHITE, "mm")
        room = WIDTH - EDGE - LIST_X - 48
        lines = _lines(name, 13, room)
        for line_at, words in enumerate(lines):
            y = middle + (line_at - (len(lines) - 1) / 2) * 16
            _write(draw, LIST_X + 42, y, fit(words, 13, room), 13, WHITE if told else SOFT)

    def _span(self, draw: ImageDraw.ImageDraw, label: str, start_s: float, end_s: float, y: int) -> None:
        left, right = self._x(start_s), self._x(end_s)
        if right - left < 1:
            return
        if label in self._timeline.enrolled:
            draw.rounded_rectangle((left, y, right, y + LINE_HEIGHT), 4, self._colour(label))
            number = str(self._numbers[label])
            if right - left > 12:
                _write(draw, (left + right) / 2, y + LINE_HEIGHT / 2, number, 13, WHITE, "mm")
        elif y == TRUE_Y:  # an action that is not enrolled
            draw.rounded_rectangle((left, y, right, y + LINE_HEIGHT), 4, GREY, WHITE)
            _write(draw, (left + right) / 2, y + LINE_HEIGHT / 2, "?", 13, WHITE, "mm")
        else:
            draw.rounded_rectangle((left, y + 7, right, y + LINE_HEIGHT - 7), 3, GREY)

    def _x(self, time_s: float) -> float:
        share = min(max(time_s / self._seconds, 0.0), 1.0)
        return LINE_X + (WIDTH - EDGE - LINE_X) * share

    def _colour(self, label: str) -> Colour:
        return COLOURS[(self._numbers[label] - 1) % len(COLOURS)] if label in self._timeline.enrolled else GREY


def _write(
    draw: ImageDraw.ImageDraw, x: float, y: float, words: str, px: int, colour: Colour, anchor: str = "lm"
) -> None:
    draw.text((x, y), words, colour, font_for(words, px), anchor=anchor)


def _lines(words: str, px: int, room: int) -> list[str]:
    """`words` on one line, or on two where one is too narrow."""
    if length(words, px) <= room:
        return [words]
    parts = words.split()
    half = next((n for n in range(len(parts) - 1, 0, -1) if length(" ".join(parts[:n]), px) <= room), len(parts))
    return [" ".join(parts[:half]), " ".join(parts[half:])]
