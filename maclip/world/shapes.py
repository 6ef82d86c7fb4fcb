"""Shapes, and how they are drawn, antialiased, onto a float canvas.

World coordinates: x to the right and y down, the unit square is what a model sees (its centre crop). A `View`
says which part of the world a canvas covers. Each kind is an implicit function of (u, v), the place relative to the
shape's centre in units of its radius: negative inside, and close to the edge about the distance from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Canvas = npt.NDArray[np.float32]  # [H, W, 3], 0..255
Plane = npt.NDArray[np.float32]  # [h, w]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 25, 30),
    "orange": (255, 135, 0),
    "yellow": (250, 232, 40),
    "green": (30, 160, 50),
    "cyan": (60, 225, 235),
    "blue": (25, 50, 220),
    "purple": (145, 35, 185),
    "white": (248, 248, 248),
}
TEXTURES = ("plain", "striped", "dotted", "checked")
SIZES: dict[str, tuple[float, float]] = {"small": (0.12, 0.145), "large": (0.2, 0.24)}  # radius, world units

OUTLINE = 0.15  # width of the dark edge, in radii
OUTLINE_BRIGHTNESS = 0.5
TEXTURE_BRIGHTNESS = 0.62


@dataclass(frozen=True)
class View:
    """The part of the world a square canvas covers: `size` px, from (`left`, `top`), `span` world units wide."""

    size: int
    left: float = 0.0
    top: float = 0.0
    span: float = 1.0


@dataclass(frozen=True)
class Shape:
    """One shape: centre and radius in world units, rotation in radians (clockwise as seen), opacity 0..1.

    `colour` is RGB 0..255; `phase` moves the texture inside the shape.
    """

    kind: str
    colour: tuple[float, float, float]
    x: float
    y: float
    radius: float
    rotation: float = 0.0
    texture: str = "plain"
    phase: float = 0.0
    opacity: float = 1.0


def _circle(u: Plane, v: Plane) -> Plane:
    return np.sqrt(u * u + v * v) - np.float32(0.97)


def _square(u: Plane, v: Plane) -> Plane:
    return np.maximum(np.abs(u), np.abs(v)) - np.float32(0.82)


def _triangle(u: Plane, v: Plane) -> Plane:
    inradius = np.float32(0.58)
    return np.maximum(v, np.float32(0.866) * np.abs(u) - np.float32(0.5) * v) - inradius


def _star(u: Plane, v: Plane) -> Plane:
    outer, inner = 1.15, 0.46
    fold = math.pi / 5
    angle = np.abs((np.arctan2(u, -v) + np.float32(fold)) % np.float32(2 * fold) - np.float32(fold))
    distance = np.sqrt(u * u + v * v)
    # The edge from the tip (outer, 0) to the notch at angle `fold`; its outward normal points away from the centre.
    edge_x, edge_y = inner * math.cos(fold) - outer, inner * math.sin(fold)
    length = math.hypot(edge_x, edge_y)
    normal_x, normal_y = edge_y / length, -edge_x / length
    return distance * (np.cos(angle) * np.float32(normal_x) + np.sin(angle) * np.float32(normal_y)) - np.float32(
        outer * normal_x
    )


def _cross(u: Plane, v: Plane) -> Plane:
    across, down = np.abs(u), np.abs(v)
    arm, length = np.float32(0.32), np.float32(1.0)
    return np.minimum(np.maximum(across - length, down - arm), np.maximum(across - arm, down - length))


def _ring(u: Plane, v: Plane) -> Plane:
    return np.abs(np.sqrt(u * u + v * v) - np.float32(0.76)) - np.float32(0.25)


def _heart(u: Plane, v: Plane) -> Plane:
    # Two discs above the diagonals of a square that stands on its corner.
    scale = 1.75
    x = np.abs(u) / np.float32(scale)
    y = (np.float32(0.98) - v) / np.float32(scale)  # upwards from the tip
    lobe = np.hypot(x - np.float32(0.25), y - np.float32(0.75)) - np.float32(0.3536)
    corner = np.maximum((x - y), (x + y - np.float32(1.0))) * np.float32(0.7071)
    return np.minimum(lobe, corner) * np.float32(scale)


def _moon(u: Plane, v: Plane) -> Plane:
    bite = np.hypot(u - np.float32(0.55), v)
    return np.maximum(np.sqrt(u * u + v * v) - np.float32(1.05), np.float32(0.78) - bite)


KINDS: dict[str, Callable[[Plane, Plane], Plane]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "heart": _heart,
    "moon": _moon,
}
EXTENT = 1.3  # largest reach of any kind from its centre, in radii


def _texture(name: str, u: Plane, v: Plane, phase: float) -> npt.NDArray[np.bool_]:
    """Where the texture is dark, bool [h, w]."""
    if name == "striped":
        return np.sin(u * np.float32(8.0) + np.float32(phase)) > 0.1
    if name == "dotted":
        return np.cos(u * np.float32(7.0) + np.float32(phase)) * np.cos(v * np.float32(7.0)) > 0.35
    return np.sin(u * np.float32(5.5) + np.float32(phase)) * np.sin(v * np.float32(5.5)) > 0


def draw(canvas: Canvas, view: View, shape: Shape) -> None:
    """Draw `shape` onto float32 [H, W, 3] in place; parts outside the canvas are cut off."""
    if shape.opacity <= 0 or shape.radius <= 0:
        return
    scale = view.size / view.span  # px per world unit
    radius = shape.radius * scale
    # Pixel i covers [i, i + 1), its centre is at i + 0.5.
    x, y = (shape.x - view.left) * scale - 0.5, (shape.y - view.top) * scale - 0.5
    reach = radius * EXTENT + 1
    x0, x1 = max(0, math.ceil(x - reach)), min(view.size, math.floor(x + reach) + 1)
    y0, y1 = max(0, math.ceil(y - reach)), min(view.size, math.floor(y + reach) + 1)
    if x0 >= x1 or y0 >= y1:
        return
    across = (np.arange(x0, x1, dtype=np.float32) - np.float32(x)) / np.float32(radius)
    down = ((np.arange(y0, y1, dtype=np.float32) - np.float32(y)) / np.float32(radius))[:, None]
    cos, sin = np.float32(math.cos(shape.rotation)), np.float32(math.sin(shape.rotation))
    u = across * cos + down * sin  # (h, w)
    v = down * cos - across * sin
    edge = KINDS[shape.kind](u, v)
    alpha = np.clip(np.float32(0.5) - edge * np.float32(radius), 0, 1) * np.float32(shape.opacity)
    brightness = np.where(edge > np.float32(-OUTLINE), np.float32(OUTLINE_BRIGHTNESS), np.float32(1))
    if shape.texture != "plain":
        dark = _texture(shape.texture, u, v, shape.phase)
        brightness = np.where(dark, np.minimum(brightness, np.float32(TEXTURE_BRIGHTNESS)), brightness)
    patch = canvas[y0:y1, x0:x1]
    patch *= (1 - alpha)[..., None]
    patch += (alpha * brightness)[..., None] * np.asarray(shape.colour, np.float32)
