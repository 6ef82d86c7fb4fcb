"""Motions composed of simple ones, for training only: one after the other, at the same time, or by two shapes.

No composition is a motion of the validation or test classes. Parts of them are: moving right, then growing.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from maclip.world.actors import Cast, Look, Path, Point, clock, look, other_look, place_path, random_point
from maclip.world.motions import Moment, Motion, Script
from maclip.world.shapes import Shape

DIRECTIONS: dict[str, Point] = {"right": (1.0, 0.0), "left": (-1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
_TURNS = {"clockwise": 1, "counterclockwise": -1}
_TURNED_KINDS = ("triangle", "heart", "moon", "square")  # rotation shows on these kinds
_SWITCH = (0.42, 0.58)  # progress at which the second of two motions begins
_EXTENT = (0.3, 0.45)  # world units, of a straight movement
_RADII = (0.15, 0.2)


@dataclass(frozen=True)
class _Part:
    """One simple motion at progress 0..1 of its own: a step along a unit vector, a change of size, a turn, blinking."""

    words: str
    step: Point = (0.0, 0.0)
    grows: int = 0
    turns: int = 0
    blinks: bool = False

    @property
    def one_sided(self) -> bool:
        return self.step[0] != 0 or self.turns != 0


_MOVES = {name: _Part(f"moving {name}", step=step) for name, step in DIRECTIONS.items()}
_SIZES = {"grow": _Part("growing", grows=1), "shrink": _Part("shrinking", grows=-1)}
_SPINS = {f"spin-{name}": _Part(f"spinning {name}", turns=sign) for name, sign in _TURNS.items()}
_BLINK = {"blink": _Part("blinking", blinks=True)}
_PARTS = {**_MOVES, **_SIZES, **_SPINS, **_BLINK}


@dataclass(frozen=True)
class Composition:
    """A composed motion: its phrase, whether a mirrored clip shows another class, its shapes, and how it is drawn."""

    phrase: str
    one_sided: bool
    shapes: int
    motion: Motion


@dataclass(frozen=True)
class _Actor:
    """A shape whose parts happen by progress; `where` is its path, `small` its smallest size."""

    look: Look
    where: Path
    small: float
    phase: float

    def at(self, parts: tuple[tuple[_Part, float], ...], along: float) -> Shape:
        scale, turn, opacity = 1.0, 0.0, 1.0
        for part, p in parts:
            if part.grows:
                size = p if part.grows > 0 else 1 - p
                scale *= self.small + (1 - self.small) * size
            turn += part.turns * p * 0.7 * 2 * math.pi
            if part.blinks:
                opacity = 1.0 if (self.phase + 2.1 * p) % 1 < 0.5 else 0.0
        return self.look.at(self.where(along), scale=scale, turn=turn, opacity=opacity)


def _actor(rng: np.random.Generator, cast: Cast, parts: tuple[_Part, ...], path: Path) -> _Actor:
    sized = any(part.grows for part in parts)
    radius = (0.21, 0.27) if sized else _RADII
    kinds = {"kinds": _TURNED_KINDS} if any(part.turns for part in parts) else {}
    seen = look(rng, cast, radius, **kinds)
    extent = float(rng.uniform(*_EXTENT))
    return _Actor(seen, place_path(rng, path, extent, seen.radius), float(rng.uniform(0.3, 0.45)), float(rng.random()))


def _line(*steps: Point) -> Path:
    """A path along `steps`, one after the other, each in an equal share of the progress."""

    def path(p: float) -> Point:
        done = [min(max(p * len(steps) - index, 0.0), 1.0) for index in range(len(steps))]
        return sum(d * s[0] for d, s in zip(done, steps, strict=True)), sum(
            d * s[1] for d, s in zip(done, steps, strict=True)
        )

    return path


def _then(first: _Part, second: _Part) -> Motion:
    def motion(rng: np.random.Generator, cast: Cast) -> Script:
        switch, progress = float(rng.uniform(*_SWITCH)), clock(rng)
        actor = _actor(rng, cast, (first, second), _line(first.step, second.step))

        def script(time: float) -> Moment:
            p = progress(time)
            a, b = min(p / switch, 1.0), max((p - switch) / (1 - switch), 0.0)
            # Both halves of the path take their own time.
            return Moment((actor.at(((first, a), (second, b)), (a + b) / 2),))

        return script

    return motion


def _while(first: _Part, second: _Part) -> Motion:
    def motion(rng: np.random.Generator, cast: Cast) -> Script:
        progress = clock(rng)
        step = (first.step[0] + second.step[0], first.step[1] + second.step[1])
        actor = _actor(rng, cast, (first, second), _line(step))

        def script(time: float) -> Moment:
            p = progress(time)
            return Moment((actor.at(((first, p), (second, p)), p),))

        return script

    return motion


def _steps(names: tuple[str, ...]) -> Motion:
    def motion(rng: np.random.Generator, cast: Cast) -> Script:
        seen, progress = look(rng, cast, (0.12, 0.16)), clock(rng)
        placed = place_path(rng, _line(*(DIRECTIONS[name] for name in names)), float(rng.uniform(0.3, 0.4)), 0.15)
        return lambda time: Moment((seen.at(placed(progress(time))),))

    return motion


def _two(first: _Part, second: _Part, *, in_turn: bool) -> Motion:
    """Two shapes in the two halves of the picture: each does its part, together or the second after the first."""

    def motion(rng: np.random.Generator, cast: Cast) -> Script:
        progress, switch = clock(rng), float(rng.uniform(*_SWITCH))
        radii = (0.11, 0.15)
        seen = look(rng, cast, radii)
        looks = seen, other_look(rng, seen, radii)
        centre, angle = random_point(rng, 0.42), float(rng.uniform(0, 2 * math.pi))
        extent, small = float(rng.uniform(0.24, 0.34)), float(rng.uniform(0.3, 0.45))
        apart = float(rng.uniform(0.2, 0.26))
        actors = []
        for one, part, sign in zip(looks, (first, second), (1, -1), strict=True):
            x, y = centre[0] + sign * apart * math.cos(angle), centre[1] + sign * apart * math.sin(angle)
            moved = _moved((x, y), part.step, extent)
            actors.append(_Actor(one, moved, small, float(rng.random())))
        order = (0, 1) if rng.random() < 0.5 else (1, 0)  # which is drawn in front tells nothing

        def script(time: float) -> Moment:
            p = progress(time)
            each = (min(p / switch, 1.0), max((p - switch) / (1 - switch), 0.0)) if in_turn else (p, p)
            shapes = [actor.at(((part, q),), q) for actor, part, q in zip(actors, (first, second), each, strict=True)]
            return Moment(tuple(shapes[index] for index in order))

        return script

    return motion


def _moved(place: Point, step: Point, extent: float) -> Path:
    """From half an extent before `place` to half an extent behind it."""
    return lambda p: (place[0] + step[0] * extent * (p - 0.5), place[1] + step[1] * extent * (p - 0.5))


def _all() -> dict[str, Composition]:
    found: dict[str, Composition] = {}

    def add(key: str, phrase: str, parts: tuple[_Part, ...], motion: Motion) -> None:
        shapes = 2 if "another" in phrase else 1
        found[key] = Composition(phrase, any(part.one_sided for part in parts), shapes, motion)

    changes = {**_SIZES, **_SPINS}
    sequences = [
        *itertools.product(_MOVES, changes),
        *itertools.product(changes, _MOVES),
        *itertools.product(_SIZES, _SPINS),
        *itertools.product(_SPINS, _SIZES),
    ]
    for a, b in sequences:
        first, second = _PARTS[a], _PARTS[b]
        add(f"{a}-then-{b}", f"{{shape}} {first.words} then {second.words}", (first, second), _then(first, second))
    together = [
        *itertools.product(_MOVES, (*changes, *_BLINK)),
        *itertools.product(_SIZES, _SPINS),
    ]
    for a, b in together:
        first, second = _PARTS[a], _PARTS[b]
        add(f"{a}-while-{b}", f"{{shape}} {first.words} while {second.words}", (first, second), _while(first, second))
    for a, b in itertools.product(DIRECTIONS, DIRECTIONS):
        if DIRECTIONS[a][0] * DIRECTIONS[b][0] + DIRECTIONS[a][1] * DIRECTIONS[b][1] == 0:  # at right angles
            for last in (a, _opposite(a)):
                names = (a, b, last)
                words = f"moving {{shape}} {a} then {b} then {last}"
                add("-".join(names), words, tuple(_MOVES[name] for name in names), _steps(names))
    for a, b in itertools.product(_MOVES, _MOVES):
        first, second = _PARTS[a], _PARTS[b]
        words = f"one shape {first.words} then another {second.words}"
        add(f"one-{a}-then-another-{b}", words, (first, second), _two(first, second, in_turn=True))
    for a, b in [
        *itertools.product(_MOVES, _SIZES),
        ("right", "up"),
        ("right", "down"),
        ("left", "up"),
        ("left", "down"),
    ]:
        first, second = _PARTS[a], _PARTS[b]
        words = f"one shape {first.words} while another {second.words}"
        add(f"one-{a}-while-another-{b}", words, (first, second), _two(first, second, in_turn=False))
    for a, b in itertools.product(_SIZES, _SIZES):
        first, second = _PARTS[a], _PARTS[b]
        words = f"one shape {first.words} then another {second.words}"
        add(f"one-{a}-then-another-{b}", words, (first, second), _two(first, second, in_turn=True))
    return found


def _opposite(name: str) -> str:
    x, y = DIRECTIONS[name]
    return next(other for other, step in DIRECTIONS.items() if step == (-x, -y))


COMPOSITIONS: dict[str, Composition] = _all()
