"""The frames of a clip: a motion in front of a drifting background, seen by a slightly unsteady camera."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from maclip.world.actors import Cast, look, random_point
from maclip.world.backgrounds import add_specks, background, finish, grey_shape
from maclip.world.compositions import COMPOSITIONS
from maclip.world.motions import SINGLE_MOTIONS, Moment, Motion, Script
from maclip.world.pairs import PAIR_MOTIONS
from maclip.world.shapes import Shape, View

Pixels = npt.NDArray[np.uint8]

MOTIONS: dict[str, Motion] = {
    **SINGLE_MOTIONS,
    **PAIR_MOTIONS,
    **{key: one.motion for key, one in COMPOSITIONS.items()},
}
_PAIRS = {*PAIR_MOTIONS, *(key for key, one in COMPOSITIONS.items() if one.shapes == 2)}

CLIP_SIZE = 128  # px
FRAMES = 24
RATE = 12  # frames a second
# What a model sees is the centre crop, 7/8 of the picture (`maclip_runtime.reading.frames.RESIZE_RATIO`).
SPAN = 8 / 7  # world units the picture is wide
BACKGROUND_SIZE = 224  # px; larger than the picture, to leave room for drift and zoom
DRIFT = 0.05  # world units over the clip, background against shapes
SHAKE = 0.006  # world units, of the camera from frame to frame
# Probability of an extra coloured shape that takes no part in the motion. Without it, one frame would tell a motion of
# one shape from a motion of two.
BYSTANDER_CHANCE_ALONE, BYSTANDER_CHANCE_PAIR = 0.6, 0.3
BYSTANDER_DRIFT = 0.08  # world units over the clip


@dataclass(frozen=True)
class Stage:
    """Where a motion happens: the background, the distractors and the camera's path."""

    backdrop: Image.Image  # BACKGROUND_SIZE px, drawn at the picture's own scale
    distractors: tuple[tuple[Shape, float, float], ...]  # each with its drift in x and y, world units over the clip
    backdrop_drift: tuple[float, float]  # world units over the clip
    camera_drift: tuple[float, float]
    shake: npt.NDArray[np.float64]  # [frames, 2], world units

    def view(self, index: int, moment: float, zoom: float) -> View:
        """What the camera sees in frame `index` at clip time `moment`."""
        span = SPAN / zoom
        left = 0.5 - span / 2 + self.camera_drift[0] * (moment - 0.5) + float(self.shake[index, 0])
        top = 0.5 - span / 2 + self.camera_drift[1] * (moment - 0.5) + float(self.shake[index, 1])
        return View(CLIP_SIZE, left, top, span)

    def frame(self, index: int, moment: float, seen: Moment) -> Pixels:
        """One frame, uint8 [CLIP_SIZE, CLIP_SIZE, 3]."""
        view = self.view(index, moment, seen.zoom)
        scale = CLIP_SIZE / SPAN  # px of the backdrop per world unit
        step = view.span * scale / CLIP_SIZE
        left = BACKGROUND_SIZE / 2 + (view.left - 0.5 + self.backdrop_drift[0] * (moment - 0.5)) * scale
        top = BACKGROUND_SIZE / 2 + (view.top - 0.5 + self.backdrop_drift[1] * (moment - 0.5)) * scale
        picture = self.backdrop.transform(
            (CLIP_SIZE, CLIP_SIZE),
            Image.Transform.AFFINE,
            (step, 0, left, 0, step, top),
            Image.Resampling.BILINEAR,
        )
        canvas = np.asarray(picture, np.float32).copy()
        moved = [replace(s, x=s.x + x * moment, y=s.y + y * moment) for s, x, y in self.distractors]
        return finish(canvas, view, [*moved, *seen.shapes])


def make_stage(rng: np.random.Generator, frames: int = FRAMES) -> Stage:
    """A random stage for a clip of `frames` frames."""
    canvas = background(rng, BACKGROUND_SIZE)
    add_specks(canvas, rng, int(rng.integers(0, 10)))
    backdrop = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    distractors = []
    for _ in range(int(rng.integers(0, 3))):
        x, y = rng.uniform(-0.12, 0.12, 2) if rng.random() < 0.5 else (0.0, 0.0)
        distractors.append((grey_shape(rng), float(x), float(y)))
    drifts = rng.uniform(-DRIFT, DRIFT, 4)
    steps = rng.normal(0, SHAKE, (frames, 2))
    return Stage(
        backdrop,
        tuple(distractors),
        (float(drifts[0]), float(drifts[1])),
        (float(drifts[2]), float(drifts[3])),
        steps,
    )


def clip_frames(
    motion: str, rng: np.random.Generator, cast: Cast | None = None, frames: int = FRAMES
) -> Iterator[Pixels]:
    """The frames of a clip of the named motion, performed as `cast` says: uint8 [CLIP_SIZE, CLIP_SIZE, 3] each."""
    script = MOTIONS[motion](rng, cast or Cast())
    stage = make_stage(rng, frames)
    if rng.random() < (BYSTANDER_CHANCE_PAIR if motion in _PAIRS else BYSTANDER_CHANCE_ALONE):
        stage = replace(stage, distractors=(*stage.distractors, _bystander(rng, script)))
    return play(script, stage, frames)


def _bystander(rng: np.random.Generator, script: Script) -> tuple[Shape, float, float]:
    """A shape of another kind than the moving ones, placed far from them at the start, the middle and the end."""
    actors = [shape for moment in (0.0, 0.5, 1.0) for shape in script(moment).shapes]
    while True:
        one = look(rng, radius=(0.11, 0.16))
        if all(one.kind != actor.kind for actor in actors):
            break
    places = [random_point(rng, one.radius) for _ in range(8)]
    place = max(places, key=lambda p: min((math.hypot(p[0] - a.x, p[1] - a.y) for a in actors), default=1.0))
    x, y = rng.uniform(-BYSTANDER_DRIFT, BYSTANDER_DRIFT, 2) if rng.random() < 0.5 else (0.0, 0.0)
    return one.at(place), float(x), float(y)


def play(script: Script, stage: Stage, frames: int = FRAMES) -> Iterator[Pixels]:
    """`script` from its beginning to its end on `stage`, in `frames` frames."""
    for index in range(frames):
        moment = index / (frames - 1)
        yield stage.frame(index, moment, script(moment))


def nothing(_time: float) -> Moment:
    """The script of an empty scene."""
    return Moment(())
