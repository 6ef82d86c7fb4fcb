"""Motions of two shapes; `maclip.world.motions` says what a script is."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from maclip.world.actors import Cast, Look, Point, clock, look, other_look, random_point, turn_about
from maclip.world.motions import Moment, Motion, Script, ramp

_RADII = (0.11, 0.145)  # world units


def _two(rng: np.random.Generator, cast: Cast) -> tuple[Look, Look]:
    first = look(rng, cast, _RADII)
    return first, other_look(rng, first, _RADII)


def _angle(rng: np.random.Generator) -> float:
    return float(rng.uniform(0, 2 * math.pi))


def _quarter_angle(rng: np.random.Generator) -> float:
    """To the right, down, left or up, within 15 degrees."""
    return float(rng.integers(4)) * math.pi / 2 + float(rng.uniform(-0.26, 0.26))


def _passing(upright: bool) -> Motion:
    def motion(rng: np.random.Generator, cast: Cast) -> Script:
        (first, second), progress = _two(rng, cast), clock(rng)
        reach, aside = float(rng.uniform(0.28, 0.36)), float(rng.uniform(0.11, 0.16))
        sign = 1 if rng.random() < 0.5 else -1
        x, y = random_point(rng, 0.44)

        def script(time: float) -> Moment:
            along = reach * (2 * progress(time) - 1)
            if upright:
                return Moment((first.at((x - aside * sign, y + along)), second.at((x + aside * sign, y - along))))
            return Moment((first.at((x + along, y - aside * sign)), second.at((x - along, y + aside * sign))))

        return script

    return motion


def _distance(far_part: Callable[[float], float], same: bool = False) -> Motion:
    """Two shapes on a line. `far_part`: progress -> 0 (touching, or with `same` on top of each other) .. 1 (apart)."""

    def motion(rng: np.random.Generator, cast: Cast) -> Script:
        (first, second), progress = _two(rng, cast), clock(rng)
        if same:
            second = first
        near = 0.0 if same else 0.5 * (first.radius + second.radius)
        far, angle = float(rng.uniform(0.3, 0.37)), _angle(rng)
        centre = random_point(rng, 0.44)

        def script(time: float) -> Moment:
            apart = near + (far - near) * far_part(progress(time))
            return Moment(
                (
                    first.at(turn_about(centre, apart, angle)),
                    second.at(turn_about(centre, apart, angle + math.pi)),
                )
            )

        return script

    return motion


def _swap(rng: np.random.Generator, cast: Cast) -> Script:
    (first, second), progress = _two(rng, cast), clock(rng)
    reach, angle = float(rng.uniform(0.22, 0.3)), _angle(rng)
    turn = math.pi if rng.random() < 0.5 else -math.pi
    centre = random_point(rng, 0.42)

    def script(time: float) -> Moment:
        now = angle + turn * progress(time)
        return Moment((first.at(turn_about(centre, reach, now)), second.at(turn_about(centre, reach, now + math.pi))))

    return script


def _orbit(rng: np.random.Generator, cast: Cast) -> Script:
    (first, second), progress = _two(rng, cast), clock(rng)
    reach, angle = first.radius + second.radius + float(rng.uniform(0.02, 0.07)), _angle(rng)
    turn = float(rng.uniform(0.9, 1.2)) * 2 * math.pi * (1 if rng.random() < 0.5 else -1)
    centre = random_point(rng, reach + 0.1)

    def script(time: float) -> Moment:
        return Moment((first.at(centre), second.at(turn_about(centre, reach, angle + turn * progress(time)))))

    return script


def _chase(rng: np.random.Generator, cast: Cast) -> Script:
    (first, second), progress = _two(rng, cast), clock(rng)
    angle, length = _quarter_angle(rng), float(rng.uniform(0.42, 0.5))
    centre, start = random_point(rng, 0.46), first.radius + second.radius + float(rng.uniform(0.06, 0.12))

    def script(time: float) -> Moment:
        p = progress(time)
        front = -0.5 * length + start / 2 + length * p
        behind = front - start + 0.05 * p  # it catches up a little
        return Moment((first.at(turn_about(centre, front, angle)), second.at(turn_about(centre, behind, angle))))

    return script


def _push(rng: np.random.Generator, cast: Cast) -> Script:
    (first, second), progress = _two(rng, cast), clock(rng)
    angle, length = _quarter_angle(rng), float(rng.uniform(0.5, 0.6))
    touching, centre = 0.9 * (first.radius + second.radius), random_point(rng, 0.46)

    def script(time: float) -> Moment:
        pusher = -0.5 * length - 0.4 * touching + length * progress(time)
        pushed = max(pusher + touching, 0.0)
        return Moment((first.at(turn_about(centre, pushed, angle)), second.at(turn_about(centre, pusher, angle))))

    return script


def _covering(away_part: Callable[[float], float]) -> Motion:
    def motion(rng: np.random.Generator, cast: Cast) -> Script:
        hidden, progress = look(rng, cast, (0.11, 0.13)), clock(rng)
        cover = other_look(rng, hidden, (0.19, 0.23))
        while cover.kind not in ("circle", "square", "heart"):  # these cover what is behind them
            cover = other_look(rng, hidden, (0.19, 0.23))
        far, angle = float(rng.uniform(0.38, 0.48)), _angle(rng)
        middle = random_point(rng, 0.4)
        place = turn_about(middle, -far / 2, angle)

        def script(time: float) -> Moment:
            away = far * away_part(progress(time))
            return Moment((hidden.at(place), cover.at(turn_about(place, away, angle))))

        return script

    return motion


def _together(step: Point) -> Motion:
    """Two shapes side by side that move along `step`, a unit vector."""

    def motion(rng: np.random.Generator, cast: Cast) -> Script:
        (first, second), progress = _two(rng, cast), clock(rng)
        length, gap = float(rng.uniform(0.42, 0.58)), 0.5 * (first.radius + second.radius) + 0.03
        centre = random_point(rng, 0.4)
        side = math.atan2(step[1], step[0]) + math.pi / 2

        def script(time: float) -> Moment:
            along = length * (progress(time) - 0.5)
            middle = (centre[0] + step[0] * along, centre[1] + step[1] * along)
            return Moment((first.at(turn_about(middle, gap, side)), second.at(turn_about(middle, -gap, side))))

        return script

    return motion


def _jump_over(rng: np.random.Generator, cast: Cast) -> Script:
    (first, second), progress = _two(rng, cast), clock(rng)
    sign, reach = (1 if rng.random() < 0.5 else -1), float(rng.uniform(0.26, 0.32))
    height, x = float(rng.uniform(0.4, 0.48)), 0.5 + float(rng.uniform(-0.05, 0.05))
    floor = float(rng.uniform(0.68, 0.8))

    def script(time: float) -> Moment:
        p = progress(time)
        jumping = (x + sign * reach * (2 * p - 1), floor - 4 * height * p * (1 - p))
        return Moment((first.at((x, floor)), second.at(jumping)))

    return script


def _side_by_side(rng: np.random.Generator, reach: float) -> tuple[Point, Point]:
    centre, angle = random_point(rng, 0.4), _angle(rng)
    return turn_about(centre, reach, angle), turn_about(centre, -reach, angle)


def _exchange_size(rng: np.random.Generator, cast: Cast) -> Script:
    (first, second), progress = _two(rng, cast), clock(rng)
    here, there = _side_by_side(rng, float(rng.uniform(0.21, 0.25)))
    small, large = float(rng.uniform(0.55, 0.7)), float(rng.uniform(1.4, 1.6))

    def script(time: float) -> Moment:
        p = progress(time)
        return Moment(
            (
                first.at(here, scale=small + p * (large - small)),
                second.at(there, scale=large + p * (small - large)),
            )
        )

    return script


def _one_fading(seen: Callable[[float], float]) -> Motion:
    """Two shapes side by side; the second's opacity follows `seen`: time since a random moment -> 0..1."""

    def motion(rng: np.random.Generator, cast: Cast) -> Script:
        (first, second), moment = _two(rng, cast), float(rng.uniform(0.3, 0.7))
        here, there = _side_by_side(rng, float(rng.uniform(0.16, 0.24)))
        return lambda time: Moment((first.at(here), second.at(there, opacity=seen(time - moment))))

    return motion


PAIR_MOTIONS: dict[str, Motion] = {
    "pass-across": _passing(upright=False),
    "pass-along": _passing(upright=True),
    "approach": _distance(lambda p: 1 - p),
    "part": _distance(lambda p: p),
    "collide": _distance(lambda p: abs(2 * p - 1)),
    "swap": _swap,
    "orbit": _orbit,
    "chase": _chase,
    "push": _push,
    "cover": _covering(lambda p: 1 - p),
    "uncover": _covering(lambda p: p),
    "split": _distance(lambda p: p, same=True),
    "merge": _distance(lambda p: 1 - p, same=True),
    "together-up": _together((0.0, -1.0)),
    "together-down": _together((0.0, 1.0)),
    "together-across": _together((1.0, 0.0)),
    "jump-over": _jump_over,
    "exchange-size": _exchange_size,
    "add": _one_fading(ramp),
    "remove": _one_fading(lambda since: 1 - ramp(since)),
}
