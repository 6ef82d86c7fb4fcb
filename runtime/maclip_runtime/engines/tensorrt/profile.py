"""The sizes that an engine is built for: min, opt and max of each dynamic axis of a graph, as TensorRT calls them.

The rows of a graph (clips, frames or prototypes: the first axis of its first output) are independent, so any number of
them runs in pieces. Classes are compared with each other, so an engine must take all classes of the gallery at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from maclip_runtime.bundle.manifest import GraphSpec, TensorSpec
from maclip_runtime.engines.pieces import row_axis

OPT_CLASSES = 16


@dataclass(frozen=True)
class MaxSizes:
    """How many clips an engine runs at once, and how many classes it matches."""

    clips: int = 8
    classes: int = 10_000


@dataclass(frozen=True)
class Axis:
    """One dynamic axis and its sizes; the engine is fastest at `opt`."""

    name: str
    min: int
    opt: int
    max: int


@dataclass(frozen=True)
class Profile:
    """The dynamic axes of one graph."""

    axes: tuple[Axis, ...]

    def shapes(self, tensor: TensorSpec) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The min, opt and max shape of one input."""
        sizes = {axis.name: (axis.min, axis.opt, axis.max) for axis in self.axes}
        low, opt, high = (
            tuple(sizes[n][which] if isinstance(n, str) else n for n in tensor.shape) for which in range(3)
        )
        return low, opt, high

    def covers(self, sizes: dict[str, int]) -> bool:
        """Whether each of `sizes`, by axis, is within the profile."""
        return all(axis.min <= sizes[axis.name] <= axis.max for axis in self.axes if axis.name in sizes)

    def __str__(self) -> str:
        return " ".join(f"{axis.name}={axis.min}:{axis.opt}:{axis.max}" for axis in self.axes)

    @classmethod
    def parse(cls, text: str) -> Profile:
        """Read the text that `str` gives.

        >>> str(Profile.parse("B=1:1:8 C=1:16:10000"))
        'B=1:1:8 C=1:16:10000'
        """
        parts = (part.partition("=") for part in text.split())
        return cls(tuple(Axis(name, *(int(n) for n in sizes.split(":"))) for name, _, sizes in parts))


def profile_of(spec: GraphSpec, frames: int, max_sizes: MaxSizes) -> Profile:
    """The profile of a graph; its axis F counts single frames, of which a clip has `frames`."""
    rows = row_axis(spec)
    axes = {n: None for tensor in spec.inputs for n in tensor.shape if isinstance(n, str)}
    sized = []
    for name in axes:
        if name != rows:
            sized.append(Axis(name, 1, min(OPT_CLASSES, max_sizes.classes), max_sizes.classes))
        elif name == "F":
            sized.append(Axis(name, 1, frames, max_sizes.clips * frames))
        else:
            sized.append(Axis(name, 1, 1, max_sizes.clips))
    return Profile(tuple(sized))


def covers(profile: str, sizes: dict[str, int]) -> bool:
    """Whether a profile, given as text, covers `sizes`; False where the text is no profile."""
    try:
        return Profile.parse(profile).covers(sizes)
    except (TypeError, ValueError):
        return False
