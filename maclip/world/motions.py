"""Motions of one shape. A motion takes a random generator and a cast and returns a script: clip time 0..1 -> `Moment`.

Start, extent, speed profile and looks are random, so that no single frame tells which motion it is from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from maclip.world.actors import (
    Cast,
    Path,
    Point,
    clock,
    look,
    paint,
    place_path,
    random_point,
    triangle_wave,
)
from maclip.world.shapes import COLOURS, Shape


@dataclass(frozen=True)
class Moment:
    """What is seen at one time: shapes in drawing order, and the camera's zoom."""

    shapes: tuple[Shape, ...]
    zoom: float = 1.0


Script = Callable[[float], Moment]
Motion = Callable[[np.random.Generator, Cast], Script]


def _line(x: float, y: float) -> Path:
    return lambda p: (x * p, y * p)


def _back(x: float, y: float) -> Path:
    def path(p: float) -> Point:
        out = math.sin(math.pi * p)
        return x * out, y * out

    return path


def _corner(first: Point, second: Point) -> Path:
    def path(p: float) -> Point:
        a, b = min(2 * p, 1.0), max(2 * p - 1, 0.0)
        return first[0] * a + second[0] * b, first[1] * a + second[1] * b

    return path


_RIGHT, _LEFT, _UP, _DOWN = (1.0, 0.0), (-1.0, 0.0), (0.0, -1.0), (0.0, 1.0)
_DIRECTIONS = {"right": _RIGHT, "left": _LEFT, "up": _UP, "down": _DOWN}


def _paths() -> dict[str, Path]:
    paths: dict[str, Path] = {name: _line(*way) for name, way in _DIRECTIONS.items()}
    for vertical in ("up", "down"):
        for side in ("right", "left"):
            paths[f"{vertical}-{side}"] = _line(_DIRECTIONS[side][0] * 0.9, _DIRECTIONS[vertical][1] * 0.9)
            paths[f"{side}-then-{vertical}"] = _corner(_DIRECTIONS[side], _DIRECTIONS[vertical])
            paths[f"{vertical}-then-{side}"] = _corner(_DIRECTIONS[vertical], _DIRECTIONS[side])
    for name, way in _DIRECTIONS.items():
        paths[f"{name}-back"] = _back(*way)
    return paths


def _along(path: Path, low: float = 0.25, high: float = 0.45) -> Motion:
    """One shape along `path`, which is scaled by `low` to `high` world units."""

    def motion(rng: np.random.Generator, cast: Cast) -> Script:
        actor, progress = look(rng, cast), clock(rng)
        placed = place_path(rng, path, float(rng.uniform(low, high)), actor.radius)
        return lambda time: Moment((actor.at(placed(progress(time))),))

    return motion


def _zigzag(rng: np.random.Generator, cast: Cast) -> Script:
    actor, progress = look(rng, cast, (0.12, 0.16)), clock(rng)
    sign, swap, start = (1 if rng.random() < 0.5 else -1), rng.random() < 0.5, float(rng.random() * 0.5)

    def path(p: float) -> Point:
        along, aside = sign * p, 0.5 * triangle_wave(start + 2 * p)
        return (aside, along) if swap else (along, aside)

    placed = place_path(rng, path, float(rng.uniform(0.55, 0.66)), actor.radius)
    return lambda time: Moment((actor.at(placed(progress(time))),))


def _circling(direction: int) -> Motion:
    def motion(rng: np.random.Generator, cast: Cast) -> Script:
        actor, progress = look(rng, cast, (0.12, 0.16)), clock(rng)
        start, turns = float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(0.9, 1.25))
        # Place the whole circle, so that an incomplete turn can start anywhere on it.
        placed = place_path(rng, _circle, float(rng.uniform(0.2, 0.28)), actor.radius)
        return lambda time: Moment((actor.at(placed(start / (2 * math.pi) + direction * turns * progress(time))),))

    return motion


def _circle(p: float) -> Point:
    return math.cos(2 * math.pi * p), math.sin(2 * math.pi * p)


def _spinning(direction: int) -> Motion:
    def motion(rng: np.random.Generator, cast: Cast) -> Script:
        # Rotation shows on these kinds; between two of eight frames they turn by less than half their symmetry angle.
        actor = look(rng, cast, (0.18, 0.24), ("triangle", "heart", "moon", "square"))
        actor = replace(actor, rotation=float(rng.uniform(-math.pi, math.pi)))
        progress, place = clock(rng, 0.1, 0.9), random_point(rng, actor.radius)
        turn = direction * float(rng.uniform(0.55, 0.8)) * 2 * math.pi
        return lambda time: Moment((actor.at(place, turn=turn * progress(time)),))

    return motion


def _scaling(scale: Callable[[float], float]) -> Motion:
    """One shape whose size follows `scale`: progress -> 0 (small) .. 1 (large)."""

    def motion(rng: np.random.Generator, cast: Cast) -> Script:
        actor, progress = look(rng, cast, (0.25, 0.32)), clock(rng)
        smallest, place = float(rng.uniform(0.28, 0.42)), random_point(rng, actor.radius)
        return lambda time: Moment((actor.at(place, scale=smallest + (1 - smallest) * scale(progress(time))),))

    return motion


def _fading(seen: Callable[[float], float]) -> Motion:
    """One shape whose opacity follows `seen`: time since a random moment, in clip lengths -> 0..1."""

    def motion(rng: np.random.Generator, cast: Cast) -> Script:
        actor, moment = look(rng, cast, (0.15, 0.23)), float(rng.uniform(0.3, 0.7))
        place = random_point(rng, actor.radius)
        return lambda time: Moment((actor.at(place, opacity=seen(time - moment)),))

    return motion


def ramp(since: float, length: float = 0.12) -> float:
    """Rise linearly from 0 to 1 over `length`, centred on `since` = 0."""
    return min(max(since / length + 0.5, 0.0), 1.0)


def _blink(rng: np.random.Generator, cast: Cast) -> Script:
    actor, phase = look(rng, cast, (0.15, 0.23)), float(rng.random())
    place, cycles = random_point(rng, actor.radius), float(rng.uniform(1.8, 2.3))
    return lambda time: Moment((actor.at(place, opacity=1.0 if (phase + cycles * time) % 1 < 0.5 else 0.0),))


def _shake(rng: np.random.Generator, cast: Cast) -> Script:
    actor, phase = look(rng, cast), float(rng.uniform(0, 6.28))
    cycles = float(rng.uniform(2.1, 2.7))

    def path(p: float) -> Point:
        return math.sin(phase + 2 * math.pi * cycles * p), 0.0

    placed = place_path(rng, path, float(rng.uniform(0.11, 0.16)), actor.radius)
    return lambda time: Moment((actor.at(placed(time)),))


def _bounce(rng: np.random.Generator, cast: Cast) -> Script:
    actor, phase = look(rng, cast), float(rng.random())
    hops, drift = float(rng.uniform(1.8, 2.3)), float(rng.uniform(-0.3, 0.3))

    def path(p: float) -> Point:
        return drift * p, -abs(math.sin(math.pi * (phase + hops * p)))

    placed = place_path(rng, path, float(rng.uniform(0.35, 0.5)), actor.radius)
    return lambda time: Moment((actor.at(placed(time)),))


def _swing(rng: np.random.Generator, cast: Cast) -> Script:
    actor, phase = look(rng, cast, (0.12, 0.16)), float(rng.uniform(0, 6.28))
    reach, cycles = float(rng.uniform(0.8, 1.05)), float(rng.uniform(1.0, 1.3))

    def angle(p: float) -> float:
        return reach * math.sin(phase + 2 * math.pi * cycles * p)

    def path(p: float) -> Point:
        return math.sin(angle(p)), math.cos(angle(p))

    placed = place_path(rng, path, float(rng.uniform(0.38, 0.46)), actor.radius)
    return lambda time: Moment((actor.at(placed(time), turn=-angle(time)),))


def _throw(rng: np.random.Generator, cast: Cast) -> Script:
    actor, progress = look(rng, cast, (0.12, 0.16)), clock(rng)
    sign, height = (1 if rng.random() < 0.5 else -1), float(rng.uniform(0.7, 0.95))

    def path(p: float) -> Point:
        return sign * p, -4 * height * p * (1 - p)

    placed = place_path(rng, path, float(rng.uniform(0.55, 0.66)), actor.radius)
    return lambda time: Moment((actor.at(placed(progress(time))),))


def _still(rng: np.random.Generator, cast: Cast) -> Script:
    actor = look(rng, cast, (0.13, 0.22))
    seen = Moment((actor.at(random_point(rng, actor.radius)),))
    return lambda time: seen


def _recolour(rng: np.random.Generator, cast: Cast) -> Script:
    names = [str(name) for name in rng.permutation(list(COLOURS))[:2]]
    before = look(rng, Cast(colour=names[0], kind=cast.kind), (0.15, 0.23))
    after, moment = paint(rng, names[1]), float(rng.uniform(0.3, 0.7))
    place = random_point(rng, before.radius)

    def script(time: float) -> Moment:
        part = ramp(time - moment)
        r, g, b = (x + part * (y - x) for x, y in zip(before.colour, after, strict=True))
        return Moment((replace(before, colour=(r, g, b)).at(place),))

    return script


def _zooming(first: float, last: float) -> Motion:
    def motion(rng: np.random.Generator, cast: Cast) -> Script:
        actor, progress = look(rng, cast, (0.13, 0.18)), clock(rng)
        place, strength = random_point(rng, 0.36), float(rng.uniform(0.85, 1.1))
        shape = actor.at(place)

        def script(time: float) -> Moment:
            p = progress(time)
            return Moment((shape,), zoom=1 + strength * ((1 - p) * first + p * last - 1))

        return script

    return motion


SINGLE_MOTIONS: dict[str, Motion] = {
    **{name: _along(path) for name, path in _paths().items()},
    "zigzag": _zigzag,
    "clockwise": _circling(1),
    "counterclockwise": _circling(-1),
    "spin-clockwise": _spinning(1),
    "spin-counterclockwise": _spinning(-1),
    "grow": _scaling(lambda p: p),
    "shrink": _scaling(lambda p: 1 - p),
    "grow-shrink": _scaling(lambda p: math.sin(math.pi * p)),
    "shrink-grow": _scaling(lambda p: 1 - math.sin(math.pi * p)),
    "appear": _fading(ramp),
    "vanish": _fading(lambda since: 1 - ramp(since)),
    "blink": _blink,
    "shake": _shake,
    "bounce": _bounce,
    "swing": _swing,
    "throw": _throw,
    "still": _still,
    "recolour": _recolour,
    "zoom-in": _zooming(0.9, 1.65),
    "zoom-out": _zooming(1.65, 0.9),
}
