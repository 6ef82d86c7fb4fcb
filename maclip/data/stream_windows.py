"""Windows of untrimmed video for training: which are of a class, which are of none, and which are not used.

A device sees windows that straddle two actions, not trimmed clips. Windows come from annotated untrimmed video, or from
video that is stitched from trimmed clips, with rests between them in which the last and the next picture are held
(docs/method.md, section 8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from maclip.data.episodes import Ids
from maclip_runtime.errors import MaclipError

NONE = -1  # the label of a window of no class
LENGTHS = (0.6, 1.1)  # of a window, as a share of an action's mean duration
# A window is of a class if it lies inside the action and shows enough of it, or if it shows nearly all of it.
INSIDE, COVERED = 0.85, 0.5
MOSTLY_INSIDE, MOSTLY_COVERED = 0.6, 0.9
MAX_OF_NONE = 0.45  # both shares, of a window of no class
TRIES = 60  # random windows that are tried for one that is used
STITCHED_CLIPS = 8  # clips of one stitched video
RESTS = (0.4, 1.5)  # of a stitched video, in clip lengths


@dataclass(frozen=True)
class Happening:
    """An action of an untrimmed video: the index of its class, and when it begins and ends."""

    label: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Timeline:
    """One untrimmed video: rows of a store that hold its frames, int64 [n], their times [n], and its happenings."""

    rows: Ids
    times_s: npt.NDArray[np.float64]
    duration_s: float
    happenings: tuple[Happening, ...]

    def window(self, start_s: float, length_s: float, frames: int) -> Ids:
        """The rows of the window's frames, int64 [T]: those shown at the centres of its T segments."""
        centres = start_s + (np.arange(frames) + 0.5) * length_s / frames
        return self.rows[np.maximum(np.searchsorted(self.times_s, centres, side="right") - 1, 0)]


@dataclass(frozen=True)
class Windows:
    """A pool of windows: `labels` int64 [n] are indices of classes or NONE; `load` reads some as `ClipStore.load`."""

    labels: Ids
    load: Callable[[Ids], Tensor]

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, label: int) -> Ids:
        """The windows with `label`, int64."""
        return np.flatnonzero(self.labels == label)


def window_label(start_s: float, end_s: float, happenings: Sequence[Happening]) -> int | None:
    """The class of a window, NONE for no class, or None if it is not used because it shows a part of an action."""
    parts = [False]
    for one in happenings:
        both = min(end_s, one.end_s) - max(start_s, one.start_s)
        inside, covered = both / (end_s - start_s), both / (one.end_s - one.start_s)
        if (inside >= INSIDE and covered >= COVERED) or (inside >= MOSTLY_INSIDE and covered >= MOSTLY_COVERED):
            return one.label
        parts.append(inside >= MAX_OF_NONE or covered >= MAX_OF_NONE)
    return None if any(parts) else NONE


def draw_windows(
    timelines: Sequence[Timeline], frames: int, classes: int, *, of_class: int, of_none: int, seed: int
) -> tuple[Ids, Ids]:
    """Random windows of `timelines`: rows int64 [n, T] and labels int64 [n].

    frames: T.
    classes: number of classes; labels of happenings lie below it.
    of_class, of_none: windows to draw of each class, and of none.
    Raises `streams-too-small` if there is no window of any class, or none without.
    """
    rng = np.random.default_rng([seed, 3])
    where: dict[int, list[tuple[Timeline, Happening]]] = {}
    for timeline in timelines:
        for one in timeline.happenings:
            where.setdefault(one.label, []).append((timeline, one))
    durations = [one.end_s - one.start_s for found in where.values() for _, one in found]
    mean_s = float(np.mean(durations)) if durations else 0.0
    found = [
        (timeline.window(start_s, length_s, frames), label)
        for label in range(classes)
        if label in where
        for _ in range(of_class)
        for timeline, start_s, length_s in _near(where[label], label, mean_s, rng)
    ]
    positives = len(found)
    found += [
        (timeline.window(start_s, length_s, frames), NONE)
        for _ in range(of_none if timelines else 0)
        for timeline, start_s, length_s in _anywhere(timelines, mean_s, rng)
    ]
    if not positives or positives == len(found):
        raise MaclipError(
            "streams-too-small",
            "The untrimmed video has no window of a training class, or none that is of no class: "
            f"{len(durations)} actions in {len(timelines)} videos were found.",
            "Give longer videos with rests between the actions, or train without --streams.",
        )
    return np.stack([rows for rows, _ in found]), np.array([label for _, label in found], dtype=np.int64)


def stitch(labels: Ids, frames: int, readable: npt.NDArray[np.bool_], *, seed: int) -> list[Timeline]:
    """Untrimmed videos stitched from trimmed clips, each clip once; times are in clip lengths.

    labels: class of each clip, int64 [clips].
    frames: F, frames of a clip; row `clip * F + frame` is a frame of a clip.
    readable: whether each clip can be read, bool [clips].
    """
    rng = np.random.default_rng([seed, 4])
    order = rng.permutation(np.flatnonzero(readable))
    return [
        _stitched(order[at : at + STITCHED_CLIPS], labels, frames, rng) for at in range(0, len(order), STITCHED_CLIPS)
    ]


def _stitched(clips: Ids, labels: Ids, frames: int, rng: np.random.Generator) -> Timeline:
    rows: list[int] = []
    times: list[float] = []
    happenings = []
    now, previous = 0.0, int(clips[0]) * frames  # the first picture is held before the first clip
    for clip in clips.tolist():
        rest = float(rng.uniform(*RESTS))
        rows += [previous, clip * frames]
        times += [now, now + rest / 2]
        now += rest
        rows += range(clip * frames, (clip + 1) * frames)
        times += [now + index / frames for index in range(frames)]
        happenings.append(Happening(int(labels[clip]), now, now + 1))
        now, previous = now + 1, (clip + 1) * frames - 1
    now += float(rng.uniform(*RESTS))
    return Timeline(np.array(rows), np.array(times), now, tuple(happenings))


def _near(
    where: Sequence[tuple[Timeline, Happening]], label: int, mean_s: float, rng: np.random.Generator
) -> Iterator[tuple[Timeline, float, float]]:
    """A random window of the class `label`; none if no try finds one."""
    for _ in range(TRIES):
        timeline, one = where[int(rng.integers(len(where)))]
        length_s = float(rng.uniform(*LENGTHS)) * mean_s
        start_s = float(rng.uniform(one.start_s - 0.3 * length_s, max(one.start_s, one.end_s - 0.7 * length_s)))
        fits = start_s >= 0 and start_s + length_s <= timeline.duration_s
        if fits and window_label(start_s, start_s + length_s, timeline.happenings) == label:
            yield timeline, start_s, length_s
            return


def _anywhere(
    timelines: Sequence[Timeline], mean_s: float, rng: np.random.Generator
) -> Iterator[tuple[Timeline, float, float]]:
    """A random window of no class; none if no try finds one."""
    for _ in range(TRIES):
        timeline = timelines[int(rng.integers(len(timelines)))]
        length_s = float(rng.uniform(*LENGTHS)) * mean_s
        if length_s <= 0 or length_s > timeline.duration_s:
            continue
        start_s = float(rng.uniform(0, timeline.duration_s - length_s))
        if window_label(start_s, start_s + length_s, timeline.happenings) == NONE:
            yield timeline, start_s, length_s
            return
