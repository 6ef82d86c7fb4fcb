"""Still scenes: a few shapes and what is true of them.

`Scene.facts` says how true each statement of a fixed vocabulary (`FACTS`) is: kinds, colours, sizes, places, counts and
their pairs. Pre-training uses it twice: as the target that the class token must predict, and to find the captions that
are true of a picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from maclip.world.backgrounds import add_specks, background, finish, grey_shape
from maclip.world.shapes import COLOURS, KINDS, SIZES, TEXTURES, Shape, View

Pixels = npt.NDArray[np.uint8]

PLACES = ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right")
MAX_SHAPES = 4
PLACE_CENTRES = (0.2, 0.5, 0.8)  # centres of the three columns and rows, world units
COLOUR_JITTER = 16.0  # for each channel, of 255


@dataclass(frozen=True)
class Thing:
    """A shape and the names of its kind, colour and size."""

    kind: str
    colour: str
    size: str
    shape: Shape

    @property
    def place(self) -> str:
        """The nearest of the nine places."""
        column, row = (int(np.argmin(np.abs(np.array(PLACE_CENTRES) - v))) for v in (self.shape.x, self.shape.y))
        return PLACES[row * 3 + column]

    def place_weights(self) -> dict[str, float]:
        """Weight of each place, 0..1, linear between the places' centres: finer than `place`."""
        weights = {}
        for row in range(3):
            for column in range(3):
                away_x = abs(min(max(self.shape.x, 0.2), 0.8) - PLACE_CENTRES[column]) / 0.3
                away_y = abs(min(max(self.shape.y, 0.2), 0.8) - PLACE_CENTRES[row]) / 0.3
                weight = max(0.0, 1 - away_x) * max(0.0, 1 - away_y)
                if weight > 0:
                    weights[PLACES[row * 3 + column]] = weight
        return weights


def _fact_names() -> tuple[str, ...]:
    kinds, colours = list(KINDS), list(COLOURS)
    names = [*kinds, *colours, *SIZES, *(t for t in TEXTURES if t != "plain")]
    names += [f"{colour} {kind}" for colour in colours for kind in kinds]
    names += [f"{size} {name}" for size in SIZES for name in (*kinds, *colours)]
    names += [f"{count} shapes" for count in range(1, MAX_SHAPES + 1)]
    names += [f"{count} {name}" for count in range(2, MAX_SHAPES + 1) for name in (*kinds, *colours)]
    names += list(PLACES)
    names += [f"{name} {place}" for name in (*kinds, *colours) for place in PLACES]
    return tuple(names)


FACTS = _fact_names()
FACT_INDEX = {name: index for index, name in enumerate(FACTS)}
# True for facts about positions; not trained when captions name no positions.
FACT_IS_PLACE = np.array([name in PLACES or name.endswith(tuple(f" {p}" for p in PLACES)) for name in FACTS])


@dataclass(frozen=True)
class Scene:
    """One to four things, drawn in order."""

    things: tuple[Thing, ...]

    def facts(self) -> npt.NDArray[np.uint8]:
        """How true each of `FACTS` is: uint8 [len(FACTS)]; 255 is true, places have values between."""
        truth = np.zeros(len(FACTS), np.uint8)
        for thing in self.things:
            names = [thing.kind, thing.colour, thing.size, f"{thing.colour} {thing.kind}"]
            names += [f"{thing.size} {thing.kind}", f"{thing.size} {thing.colour}"]
            if thing.shape.texture != "plain":
                names.append(thing.shape.texture)
            for name in names:
                truth[FACT_INDEX[name]] = 255
            for place, weight in thing.place_weights().items():
                for name in (place, f"{thing.kind} {place}", f"{thing.colour} {place}"):
                    truth[FACT_INDEX[name]] = max(truth[FACT_INDEX[name]], round(255 * weight))
        truth[FACT_INDEX[f"{len(self.things)} shapes"]] = 255
        for names_of in ([t.kind for t in self.things], [t.colour for t in self.things]):
            for name in set(names_of):
                if (count := names_of.count(name)) > 1:
                    truth[FACT_INDEX[f"{count} {name}"]] = 255
        return truth

    def patches(self, grid: int) -> npt.NDArray[np.uint8]:
        """What covers the centre of each cell of a `grid` x `grid` raster, row by row: uint8 [grid * grid, 2].

        The indices of the kind in `KINDS` and of the colour in `COLOURS`, from 1; 0 where nothing is.
        """
        centres = (np.arange(grid) + 0.5) / grid
        out = np.zeros((grid, grid, 2), np.uint8)
        for thing in self.things:
            away = np.hypot(centres[None, :] - thing.shape.x, centres[:, None] - thing.shape.y)
            covered = away < max(thing.shape.radius, 0.6 / grid)
            out[covered] = list(KINDS).index(thing.kind) + 1, list(COLOURS).index(thing.colour) + 1
        return out.reshape(grid * grid, 2)


def _one_of(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    return names[int(rng.integers(len(names)))]


def make_thing(
    rng: np.random.Generator,
    kind: str | None = None,
    colour: str | None = None,
    size: str | None = None,
    texture: str | None = None,
) -> Thing:
    """A thing somewhere in the unit square; names that are None are drawn at random."""
    kind = kind or _one_of(rng, tuple(KINDS))
    colour = colour or _one_of(rng, tuple(COLOURS))
    size = size or _one_of(rng, tuple(SIZES))
    radius = float(rng.uniform(*SIZES[size]))
    r, g, b = (float(np.clip(c + rng.uniform(-COLOUR_JITTER, COLOUR_JITTER), 0, 255)) for c in COLOURS[colour])
    turned = rng.uniform(-math.pi, math.pi) if rng.random() < 0.4 else rng.normal(0, 0.25)
    texture = texture or (_one_of(rng, TEXTURES) if rng.random() < 0.6 else "plain")
    # Shapes may stick out a little, as moving shapes do.
    x, y = rng.uniform(0.75 * radius, 1 - 0.75 * radius, 2)
    phase = float(rng.uniform(0, 6.28))
    shape = Shape(kind, (r, g, b), float(x), float(y), radius, float(turned), texture, phase)
    return Thing(kind, colour, size, shape)


def place_apart(rng: np.random.Generator, things: list[Thing]) -> tuple[Thing, ...]:
    """Move things until they hardly overlap; drop those that find no room in 12 tries."""
    placed: list[Thing] = []
    for thing in things:
        for _ in range(12):
            radius = thing.shape.radius
            x, y = (float(v) for v in rng.uniform(0.75 * radius, 1 - 0.75 * radius, 2))
            if all(math.hypot(x - p.shape.x, y - p.shape.y) > 0.85 * (radius + p.shape.radius) for p in placed):
                placed.append(replace(thing, shape=replace(thing.shape, x=x, y=y)))
                break
    return tuple(placed)


def random_scene(rng: np.random.Generator) -> Scene:
    """Half the time one shape; else two different ones, a group of equal ones, or three or four of any kind."""
    sort = rng.random()
    if sort < 0.5:
        return Scene((make_thing(rng),))
    if sort < 0.75:
        things = [make_thing(rng), make_thing(rng)]
    elif sort < 0.9:
        first = make_thing(rng)
        count = int(rng.integers(2, MAX_SHAPES + 1))
        size = "small" if count > 2 else first.size
        things = [make_thing(rng, first.kind, first.colour, size, first.shape.texture) for _ in range(count)]
    else:
        things = [make_thing(rng, size="small") for _ in range(int(rng.integers(3, MAX_SHAPES + 1)))]
    return Scene(place_apart(rng, things))


def render_scene(scene: Scene, rng: np.random.Generator, size: int = 64) -> Pixels:
    """The scene as a model sees it, uint8 [size, size, 3], on a random background with distractors."""
    canvas = background(rng, size)
    add_specks(canvas, rng, int(rng.integers(0, 5)))
    greys = [grey_shape(rng)] if rng.random() < 0.3 else []
    return finish(canvas, View(size), greys + [thing.shape for thing in scene.things])
