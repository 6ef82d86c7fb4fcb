"""Captions: true sentences about a scene, from many templates, some with attributes left out.

A caption lists the facts it claims (`Caption.claims`), so that training can tell whether it is also true of another
picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maclip.world.scenes import PLACES, Scene, Thing
from maclip.world.shapes import COLOURS, KINDS, SIZES, TEXTURES

NUMBERS = {2: "two", 3: "three", 4: "four"}
PREFIXES = ("a photo of", "a picture of", "a drawing of", "a photo showing")
# No fact in `scenes.FACTS` expresses a relation, so a caption with one never counts as true of another picture.
RELATION = "relation"


@dataclass(frozen=True)
class Caption:
    """A sentence and what it claims: names from `scenes.FACTS`, or RELATION."""

    text: str
    claims: tuple[str, ...]


def plural(kind: str) -> str:
    """The plural of a kind: "crosses", "stars"."""
    return kind + "es" if kind.endswith("s") else kind + "s"


def at(place: str) -> str:
    """ "at the top left", "on the right", "in the center"."""
    preposition = {"left": "on", "right": "on", "center": "in"}.get(place, "at")
    return f"{preposition} the {place}"


def _describe(thing: Thing, rng: np.random.Generator, place: bool, full: bool = False) -> tuple[list[str], list[str]]:
    """Words for one thing ("large", "red", "star", "at the top") and the facts they claim."""
    say_size, say_colour, say_kind = (
        rng.random() < 0.35,
        full or rng.random() < 0.75,
        full or rng.random() < 0.8,
    )
    if not (say_colour or say_kind or say_size):
        say_kind = True
    words: list[str] = []
    claims: list[str] = []
    if say_size:
        words.append(thing.size)
        claims.append(thing.size)
    if thing.shape.texture != "plain" and rng.random() < 0.15:
        words.append(thing.shape.texture)
        claims.append(thing.shape.texture)
    if say_colour:
        words.append(thing.colour)
        claims.append(thing.colour)
        if say_size:
            claims.append(f"{thing.size} {thing.colour}")
    words.append(thing.kind if say_kind else "shape")
    if say_kind:
        claims.append(thing.kind)
        if say_size:
            claims.append(f"{thing.size} {thing.kind}")
        if say_colour:
            claims.append(f"{thing.colour} {thing.kind}")
    if place:
        words.append(at(thing.place))
        claims.append(thing.place)
        claims += [f"{thing.kind} {thing.place}"] if say_kind else []
        claims += [f"{thing.colour} {thing.place}"] if say_colour else []
    return words, claims


def _relation(first: Thing, second: Thing) -> str:
    across, down = second.shape.x - first.shape.x, second.shape.y - first.shape.y
    if abs(across) >= abs(down):
        return "left of" if across > 0 else "right of"
    return "above" if down > 0 else "below"


def _is_group(scene: Scene) -> bool:
    first = scene.things[0]
    return all((t.kind, t.colour, t.size) == (first.kind, first.colour, first.size) for t in scene.things)


def caption(scene: Scene, rng: np.random.Generator, positions: bool = True) -> Caption:
    """One random true caption. Without `positions` it names no place and no relation."""
    count = len(scene.things)
    place = positions and rng.random() < 0.5
    if count > 1 and rng.random() < 0.15:
        words, claims = [NUMBERS[count], "shapes"], [f"{count} shapes"]
    elif count > 1 and _is_group(scene):
        parts, claims = _describe(scene.things[0], rng, place=False)
        named = "shapes" if parts[-1] == "shape" else plural(parts[-1])
        words = [NUMBERS[count], *parts[:-1], named]
        claims += [f"{count} shapes", *(f"{count} {c}" for c in claims if c in KINDS or c in COLOURS)]
    elif count > 1 and rng.random() < 0.65:
        chosen = rng.permutation(count)[:2]
        first, second = scene.things[int(chosen[0])], scene.things[int(chosen[1])]
        related = positions and rng.random() < 0.5
        words, claims = _describe(first, rng, place=place and not related)
        more, more_claims = _describe(second, rng, place=place and not related, full=related)
        joint = _relation(first, second) if related else "and"
        words = ["a", *words, joint, "a", *more]
        claims = [*claims, *more_claims, *([RELATION] if related else [])]
    else:
        words, claims = _describe(scene.things[int(rng.integers(count))], rng, place)
        words = ["a", *words]
    text = " ".join(words).replace("a orange", "an orange")
    if rng.random() < 0.6:
        text = f"{PREFIXES[0] if rng.random() < 0.7 else PREFIXES[int(rng.integers(1, len(PREFIXES)))]} {text}"
    return Caption(text, tuple(claims))


def words() -> tuple[str, ...]:
    """Every word a caption can hold, sorted."""
    said = [
        *KINDS,
        *(plural(kind) for kind in KINDS),
        *COLOURS,
        *SIZES,
        *TEXTURES,
        *NUMBERS.values(),
        *PREFIXES,
    ]
    said += [at(place) for place in PLACES]
    said += ["a", "an", "and", "one", "shape", "shapes", "left of", "right of", "above", "below"]
    return tuple(sorted({word for phrase in said for word in phrase.split()}))
