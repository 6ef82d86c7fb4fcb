"""The data of the benchmarks of decisions: drawn streams whose truth is known, and galleries of a few drawn clips.

Two sets, apart in classes and in seeds: `VALIDATION`, on which every default is chosen, and `TEST`, which is only
reported. Training saw the classes of neither. In a stream actions of 1.5 to 2.7 s follow each other with rests between
in which nobody is there; enrolled clips last 2 s. An action that a gallery does not hold is a stranger to it; many
strangers are the reverse of an enrolled action.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maclip.segments import Segment
from maclip.world import streams
from maclip.world.classes import ActionClass, Split, classes, slug
from maclip.world.clips import RATE
from maclip.world.streams import TRUE_OF_ALL
from maclip.world.synth import write_clips
from maclip_runtime import Recognizer
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.matching.index import Index
from maclip_runtime.reading.frames import Floats, Pixels, prepare, segment_indices
from maclip_runtime.sources import Frame
from maclip_runtime.sources.base import SequentialSource
from maclip_runtime.streaming import Grid, watch_features


@dataclass(frozen=True)
class DrawnSet:
    """Which classes, and how much of everything.

    enrolled: classes in a gallery.
    times: how often each class happens in a stream.
    clips: drawn of each class.
    """

    split: Split
    seed: int
    enrolled: int
    times: int
    galleries: int = 8
    streams: int = 8
    clips: int = 10

    def classes(self) -> list[ActionClass]:
        """All that happens in its streams."""
        return [one for one in classes("motion") if one.split == self.split]


VALIDATION = DrawnSet("val", seed=71, enrolled=4, times=2)
TEST = DrawnSet("test", seed=72, enrolled=6, times=1)


def drawn_sets(min_clips: int | None = None) -> dict[str, DrawnSet]:
    """Both sets by name; for a smallest size with `min_clips` clips a class, two galleries and one stream."""
    sets = {"validation": VALIDATION, "test": TEST}
    if min_clips is None:
        return sets
    return {name: replace(one, times=1, galleries=2, streams=1, clips=min_clips) for name, one in sets.items()}


@dataclass(frozen=True)
class DrawnStream:
    """One stream: its frames, uint8 [n, H, W, 3], what happens when, and its duration in seconds."""

    frames: Pixels
    segments: tuple[Segment, ...]

    @property
    def duration_s(self) -> float:
        """From the first frame to the end of the last one."""
        return len(self.frames) / RATE

    def source(self) -> SequentialSource:
        """The frames as a source."""
        return _DrawnSource(self.frames)


@dataclass(frozen=True)
class Windows:
    """The windows of a stream: query features [n, T, D'] and starts [n] in seconds, `hop_s` apart."""

    features: Floats
    start_s: npt.NDArray[np.float64]
    window_s: float
    hop_s: float


def draw_stream(chosen: DrawnSet, number: int) -> DrawnStream:
    """Stream `number` of a set: each class `times` times, in random order, at random speed."""
    rng = np.random.default_rng((chosen.seed, number))
    cast = chosen.classes()
    turns = [cast[index] for _ in range(chosen.times) for index in rng.permutation(len(cast))]
    drawn = streams.draw_stream(turns, rng)
    return DrawnStream(np.stack(list(drawn.frames)), drawn.segments)


def windows_of(stream: DrawnStream, encoder: Encoder, window_s: float) -> Windows:
    """All windows of `window_s` seconds, as densely as recognition can go: one every T-th of a window."""
    length = encoder.bundle.manifest.frames
    grid = Grid.of(length, window_s, window_s / length)
    small = partial(prepare, preprocess=encoder.bundle.manifest.preprocess)
    seen = list(watch_features(stream.source(), encoder, grid, small))
    starts = np.array([one.start_s for one in seen])
    return Windows(np.stack([one.features for one in seen]), starts, window_s, grid.hop_s)


def cut_features(stream: DrawnStream, encoder: Encoder) -> Floats:
    """The features of each action cut out exactly, as a whole clip is read: [segments, T, D']."""
    preprocess, length = encoder.bundle.manifest.preprocess, encoder.bundle.manifest.frames
    clips = []
    for segment in stream.segments:
        first, last = round(segment.start_s * RATE), round(segment.end_s * RATE)
        chosen = first + segment_indices(last - first, length)
        clips.append(np.stack([prepare(stream.frames[index], preprocess) for index in chosen]))
    return encoder.features(np.stack(clips))


def draw_clips(chosen: DrawnSet, folder: Path) -> dict[str, list[Path]]:
    """The clips of each class of a set, by class name, as video files in `folder`."""
    write_clips(folder, "motion", chosen.clips, seed=chosen.seed, splits=(chosen.split,))
    return {one.name: sorted((folder / slug(one.name)).iterdir()) for one in chosen.classes()}


def draw_gallery(chosen: DrawnSet, number: int) -> tuple[list[str], list[int]]:
    """Gallery `number` of a set: names of the classes that are enrolled, and the order in which clips are taken."""
    rng = np.random.default_rng((chosen.seed, number, 1))
    able = [one.name for one in chosen.classes() if one.motion not in TRUE_OF_ALL]
    names = [able[index] for index in sorted(rng.permutation(len(able))[: chosen.enrolled])]
    return names, rng.permutation(chosen.clips).tolist()


def enroll(recognizer: Recognizer, clips: dict[str, list[Path]], names: list[str], places: list[int]) -> Index:
    """Enroll the clips at `places` of each class, with text where the bundle knows and uses names; gives the index."""
    for name in names:
        chosen = [clips[name][place] for place in places]
        # The quality gate is not what is measured here.
        recognizer.enroll(name, chosen, no_text=not recognizer.bundle.has_name(name), force=True)
    return recognizer.index.ready()


class _DrawnSource(SequentialSource):
    def __init__(self, frames: Pixels) -> None:
        super().__init__("drawn")
        self._pictures = frames

    def produce(self) -> Iterator[Frame]:
        """The drawn frames."""
        for index, pixels in enumerate(self._pictures):
            yield Frame(pixels, index / RATE, index)

    def close(self) -> None:
        """Nothing is held."""
