"""Labelled clips for an export: the gate compares on them, static quantization is calibrated on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from maclip.data.clip_reader import ClipReader
from maclip.data.dataset import ActionClass, Dataset
from maclip.model.maclip import MaClip
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Pixels, prepare, segment_indices

CLASSES, CLIPS_EACH = 8, 4
PARITY_CLIPS = 4  # each graph is compared with torch on this many clips, each of another class
GATE_SPLITS = ("test", "val", "train")  # the first that has classes: those that training did not see come first
CALIBRATION_SPLITS = ("train", "val", "test")  # the other way round, so that the gate judges on other clips
MIN_CALIBRATION_CLIPS = 8


@dataclass(frozen=True)
class TrialClips:
    """Clips class by class: `frames` uint8 [n, T, size, size, 3], `labels` int64 [n] into `names`.

    `source` names their origin in words.
    """

    frames: Tensor
    labels: Tensor
    names: tuple[str, ...]
    source: str

    def first_of_each(self, count: int) -> Tensor:
        """The first clip of each of the first `count` classes: uint8 [count or fewer, T, size, size, 3]."""
        return self.frames[[int((self.labels == c).nonzero()[0]) for c in range(min(count, len(self.names)))]]

    def sizes(self) -> list[int]:
        """How many clips each class has."""
        return [int((self.labels == c).sum()) for c in range(len(self.names))]


def gate_clips(data: Dataset, model: MaClip, each: int = CLIPS_EACH) -> TrialClips:
    """Readable clips of classes that training did not see, if `data` has any. Raises `data-empty`."""
    return _read(data, GATE_SPLITS, model, each)


def calibration_clips(data: Dataset, model: MaClip, each: int = CLIPS_EACH) -> TrialClips:
    """Clips of training classes, to measure activations on. Raises `data-empty` and `calibration-too-small`."""
    found = _read(data, CALIBRATION_SPLITS, model, each)
    if len(found.frames) < MIN_CALIBRATION_CLIPS:
        raise MaclipError(
            "calibration-too-small",
            f"{data.root} has {len(found.frames)} clips to calibrate on; at least {MIN_CALIBRATION_CLIPS} are needed.",
            "Add clips, give other --calibration-data, or use --quantization dynamic, which needs none.",
        )
    return found


def drawn_trial(model: MaClip, each: int = CLIPS_EACH, classes: int = CLASSES, seed: int = 0) -> TrialClips:
    """Generated clips of the drawn world's motions, for an export without data; the same for the same `seed`."""
    from maclip.world.classes import classes as world_classes
    from maclip.world.clips import FRAMES, clip_frames

    chosen = [one for one in world_classes("motion") if one.split == "test"][:classes]
    wanted = segment_indices(FRAMES, model.config.frames).tolist()
    clips = []
    for number, one in enumerate(chosen):
        for clip in range(each):
            drawn = list(clip_frames(one.motion, np.random.default_rng((seed, number, clip)), one.cast))
            clips.append(np.stack([prepare(drawn[i], model.backbone.preprocess) for i in wanted]))
    return _labelled(clips, [each] * len(chosen), [one.name for one in chosen], "generated clips")


def _read(data: Dataset, splits: Sequence[str], model: MaClip, each: int) -> TrialClips:
    """Up to `each` readable clips of up to `CLASSES` classes, from the first of `splits` that has two classes.

    The next clip stands in for a broken one, and `source` counts those.
    """
    classes = next((data.split(split) for split in splits if len(data.split(split)) > 1), ())
    broken: list[MaclipError] = []
    found: dict[str, list[Pixels]] = {}
    for one in classes:
        clips = list(islice(_readable(one, model, broken), each))
        if clips:
            found[one.name] = clips
        if len(found) == CLASSES:
            break
    if len(found) < 2:
        raise MaclipError(
            "data-empty",
            f"{data.root} does not hold two classes of readable clips{f': {broken[0].message}' if broken else '.'}",
            "Give another folder.",
        )
    frames = [clip for clips in found.values() for clip in clips]
    where = f"{len(frames)} clips of {len(found)} classes of {data.root.name}"
    skipped = f" ({len(broken)} unreadable left out)" if broken else ""
    return _labelled(frames, [len(clips) for clips in found.values()], list(found), where + skipped)


def _readable(one: ActionClass, model: MaClip, broken: list[MaclipError]) -> Iterator[Pixels]:
    for path in one.clips:
        try:
            yield ClipReader(model.backbone.preprocess, model.config.frames).centre(path)
        except MaclipError as error:
            broken.append(error)


def _labelled(clips: Sequence[Pixels], counts: Sequence[int], names: Sequence[str], source: str) -> TrialClips:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return TrialClips(torch.from_numpy(np.stack(clips)), labels, tuple(names), source)
