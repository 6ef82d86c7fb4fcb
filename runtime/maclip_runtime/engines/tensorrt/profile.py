"""The sizes an engine is built for: least, usual and most of each free axis of a graph.

The rows of a graph (clips, frames or single prototypes: the first axis of what it gives) do not depend on each
other, so any number of them is run in pieces and a few suffice. Classes are compared with each other: an engine
has room for all of them, or the gallery does not fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from maclip_runtime.bundle.manifest import GraphSpec, TensorSpec
from maclip_runtime.engines.pieces import row_axis

USUAL_CLASSES = 16


@dataclass(frozen=True)
class Limits:
    """The most clips that are run at once and the most classes that are matched."""

    clips: int = 8
    classes: int = 10_000


@dataclass(frozen=True)
class Axis:
    """One free axis and its sizes; the engine is fastest at the usual one."""

    name: str
    least: int
    usual: int
    most: int


@dataclass(frozen=True)
class Profile:
    """The free axes of one graph."""

    axes: tuple[Axis, ...]

    def shapes(self, tensor: TensorSpec) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Least, usual and most shape of one input."""
        sizes = {axis.name: (axis.least, axis.usual, axis.most) for axis in self.axes}
        least, usual, most = (
            tuple(sizes[n][which] if isinstance(n, str) else n for n in tensor.shape) for which in range(3)
        )
        return least, usual, most

    def most(self, axis: str) -> int:
        """The most of one axis."""
        return next(each.most for each in self.axes if each.name == axis)

    def covers(self, sizes: dict[str, int]) -> bool:
        """Whether every size of `sizes`, by axis, is within the profile."""
        return all(axis.least <= sizes[axis.name] <= axis.most for axis in self.axes if axis.name in sizes)

    def __str__(self) -> str:
        return " ".join(f"{axis.name}={axis.least}:{axis.usual}:{axis.most}" for axis in self.axes)

    @classmethod
    def parse(cls, text: str) -> Profile:
        """Read what `str` gives back.

        >>> str(Profile.parse("B=1:1:8 C=1:16:10000"))
        'B=1:1:8 C=1:16:10000'
        """
        parts = (part.partition("=") for part in text.split())
        return cls(tuple(Axis(name, *(int(n) for n in sizes.split(":"))) for name, _, sizes in parts))


def profile_of(spec: GraphSpec, frames: int, limits: Limits) -> Profile:
    """The profile of a graph: F counts single frames, `frames` of them a clip."""
    rows = row_axis(spec)
    axes = {n: None for tensor in spec.inputs for n in tensor.shape if isinstance(n, str)}
    made = []
    for name in axes:
        if name != rows:
            made.append(Axis(name, 1, min(USUAL_CLASSES, limits.classes), limits.classes))
        elif name == "F":
            made.append(Axis(name, 1, frames, limits.clips * frames))
        else:
            made.append(Axis(name, 1, 1, limits.clips))
    return Profile(tuple(made))


def has_room(profile: str, sizes: dict[str, int]) -> bool:
    """Whether a profile, given as text, covers `sizes`; one that cannot be read has room for nothing."""
    try:
        return Profile.parse(profile).covers(sizes)
    except (TypeError, ValueError):
        return False
