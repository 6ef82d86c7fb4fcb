"""Paint a scene: a label on the frame, and below it a timeline of the past half minute."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from maclip_runtime.overlay.fonts import fit, font_for, length, printable
from maclip_runtime.overlay.scene import TIMELINE_SECONDS, Scene, Span
from maclip_runtime.reading.frames import Pixels

MAX_SIDE, MIN_WIDTH = 1280, 360  # px of the frame; text is not legible on a narrower one
TEXT_SHARE = 1 / 17  # text height over the frame's short side
MIN_TEXT, MAX_TEXT = 14, 44  # px
TICK_SECONDS = 5

Colour = tuple[int, int, int]
# Distinguishable with red-green colour blindness (Okabe and Ito), lightened for a dark background.
TONES: tuple[Colour, ...] = (
    (86, 180, 233),
    (240, 170, 40),
    (40, 200, 150),
    (225, 140, 190),
    (240, 228, 90),
    (235, 115, 50),
    (110, 150, 255),
    (190, 200, 120),
)
NO_CLASS: Colour = (170, 175, 185)
BACKGROUND, LINE, FAINT, WHITE = (22, 24, 29), (52, 56, 64), (175, 180, 190), (255, 255, 255)
SHADE = (10, 11, 14, 215)  # behind text on the frame, which stays legible on white and on black


class Painter:
    """Paints the frames of one source on a canvas.

    `width` and `height` are those of the first frame; later frames of other sizes are scaled to fit. The canvas has an
    even width and height, which encoders require.
    """

    def __init__(self, width: int, height: int) -> None:
        scale = min(MAX_SIDE / max(width, height), max(1.0, MIN_WIDTH / width))
        self._view = (_even(width * scale), _even(height * scale))
        self._text = int(min(max(min(self._view) * TEXT_SHARE, MIN_TEXT), MAX_TEXT))
        self._small = max(10, round(self._text * 0.62))
        self.width = max(self._view[0], _even(MIN_WIDTH))
        self.height = self._view[1] + _even(self._text * 3.1)

    def paint(self, pixels: Pixels, time_s: float, scene: Scene) -> Pixels:
        """Draw the scene at `time_s` on a frame: uint8 [H, W, 3] RGB -> uint8 [height, width, 3]."""
        canvas = Image.new("RGB", (self.width, self.height))
        self._place(canvas, pixels)
        if scene.headline:
            self._headline(canvas, *scene.headline)
        self._strip(ImageDraw.Draw(canvas), time_s, scene)
        return np.asarray(canvas)

    def _place(self, canvas: Image.Image, pixels: Pixels) -> None:
        picture = Image.fromarray(pixels)
        scale = min(self._view[0] / picture.width, self._view[1] / picture.height)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        canvas.paste(picture, ((self.width - size[0]) // 2, (self._view[1] - size[1]) // 2))

    def _headline(self, canvas: Image.Image, span: Span, sure: bool) -> None:
        label = span.label if sure or span.tone is None else f"{span.label} ?"
        pill = _pill(label, round(span.match, 2), _colour(span), sure, self._text, self.width)
        edge = self._text // 2
        canvas.paste(pill, (edge, min(edge, max(0, self._view[1] - pill.height))), pill)

    def _strip(self, draw: ImageDraw.ImageDraw, now_s: float, scene: Scene) -> None:
        top, gap = self._view[1], max(2, self._text // 7)
        thin, thick = round(self._text * 0.45), round(self._text * 1.15)
        draw.rectangle((0, top, self.width, self.height), BACKGROUND)
        ticks_y = self.height - self._small - gap - 2
        first = int(max(0.0, now_s - TIMELINE_SECONDS) // TICK_SECONDS) * TICK_SECONDS
        for tick_s in range(first, int(now_s) + 1, TICK_SECONDS):
            x = self._x(tick_s, now_s)
            draw.line((x, top + gap, x, self.height), LINE)
            if x + 3 + length(_clock(tick_s), self._small) <= self.width:
                draw.text((x + 3, ticks_y), _clock(tick_s), FAINT, font_for("0", self._small))
        x = self._x(now_s, now_s)
        draw.line((x, top, x, self.height), FAINT, max(1, self._text // 12))
        for span in scene.answers:
            self._block(draw, span, now_s, top + gap, thin, "")
        for span in scene.events:
            self._block(draw, span, now_s, top + 2 * gap + thin, thick, span.label)

    def _block(self, draw: ImageDraw.ImageDraw, span: Span, now_s: float, top: int, height: int, label: str) -> None:
        left, right = max(0.0, self._x(span.start_s, now_s)), min(self.width, self._x(span.end_s, now_s))
        if right - left < 2:
            return
        colour = _colour(span)
        box = (left, top, right - 2, top + height)
        if not label:
            draw.rectangle(box, colour if span.tone is not None else _mix(colour, BACKGROUND))
            return
        draw.rounded_rectangle(box, height // 4, _mix(colour, BACKGROUND), colour, max(1, height // 14))
        if span.going_on:  # no end yet
            draw.rectangle((right - 4, top, right - 2, top + height), WHITE)
        pad = height // 4
        text = fit(label, self._small, int(right - left - 3 * pad))
        draw.text((left + pad, top + height / 2), text, WHITE, font_for(text, self._small), anchor="lm")

    def _x(self, time_s: float, now_s: float) -> float:
        """The x coordinate of a time: now moves to the right edge, then the past moves left."""
        return self.width * (1 + (time_s - max(now_s, TIMELINE_SECONDS)) / TIMELINE_SECONDS)


@lru_cache(maxsize=64)
def _pill(label: str, match: float, colour: Colour, sure: bool, px: int, width: int) -> Image.Image:
    """The label and its match on a shaded box, RGBA; the bar below shows the match, with a mark at one half."""
    pad, figure = px // 2, f"{match:.2f}"
    room = int(width - 8 * pad - length(figure, px))
    # A long label gets smaller text, then it is cut.
    label_px = next((size for size in range(px, MIN_TEXT, -1) if length(printable(label), size) <= room), MIN_TEXT)
    label = fit(label, label_px, room)
    wide = int(length(label, label_px) + length(figure, px)) + 5 * pad
    high = px + 2 * pad
    pill = Image.new("RGBA", (wide, high), (0, 0, 0, 0))
    draw = ImageDraw.Draw(pill)
    draw.rounded_rectangle((0, 0, wide - 1, high - 1), pad, SHADE)
    text_y = (high - px // 5) / 2
    draw.text((2 * pad, text_y), label, WHITE if sure else FAINT, font_for(label, label_px), anchor="lm")
    draw.text((wide - pad, text_y), figure, colour, font_for(figure, px), anchor="rm")
    bar = max(2, px // 8)
    draw.rounded_rectangle((pad, pad, pad + bar, high - pad), bar // 2, colour)
    full = wide - 2 * pad
    draw.rectangle((pad, high - bar - 2, pad + full, high - 3), (*LINE, 255))
    if 0 < match <= 1:
        draw.rectangle((pad, high - bar - 2, pad + full * match, high - 3), colour)
    draw.rectangle((pad + full / 2 - 1, high - bar - 2, pad + full / 2, high - 3), FAINT)
    return pill


def _colour(span: Span) -> Colour:
    return NO_CLASS if span.tone is None else TONES[span.tone % len(TONES)]


def _mix(colour: Colour, ground: Colour) -> Colour:
    red, green, blue = ((2 * one + 3 * other) // 5 for one, other in zip(colour, ground, strict=True))
    return red, green, blue


def _clock(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _even(size: float) -> int:
    return max(2, 2 * round(size / 2))
