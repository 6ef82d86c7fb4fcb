"""The labelled clips of an export: the gate compares on them, static quantization is calibrated on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maclip.data.clip_reader import ClipReader
from maclip.data.dataset import ActionClass, Dataset, open_data
from maclip.model.maclip import MaClip
from maclip_export.options import ExportOptions
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Pixels, prepare, segment_indices

CLASSES, CLIPS_EACH = 8, 4
PARITY_CLIPS = 4  # on so many clips, of different classes, each graph is compared with torch
GATE_SPLITS = ("test", "val", "train")  # first the classes that training did not see
CALIBRATION_SPLITS = ("train", "val", "test")  # first those that it saw: the gate then judges on other clips
MIN_CALIBRATION_CLIPS = 8


@dataclass(frozen=True)
class TrialClips:
    """Clips class by class: `frames` uint8 [n, T, size, size, 3], `labels` int64 [n] into `names`.

    `source` says in words where they come from.
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


@dataclass(frozen=True)
class ExportClips:
    """The clips of one export: for the gate, and to calibrate on (None: not needed); `notes` for the user."""

    gate: TrialClips
    calibration: TrialClips | None
    notes: tuple[str, ...] = ()


def choose_clips(model: MaClip, options: ExportOptions, own: Callable[[], Dataset] | None) -> ExportClips:
    """The clips that `options` name, else those of the run, else generated ones.

    `own` opens the run's data, divided as training divided it; None: there is no run. It is called only where its
    clips are needed. A run whose data are gone is exported all the same, and `notes` says so. Raises `data-*`,
    `classes-invalid`, `splits-overlap` and `calibration-too-small`.
    """
    notes: list[str] = []
    data, calibration_data = _opened(options.gate_data), _opened(options.calibration_data)
    own_data = None
    if own is not None and (data is None or (options.needs_calibration and calibration_data is None)):
        try:
            own_data = own()
        except MaclipError as error:
            instead = "generated ones were used" if data is None else "int8 was calibrated on the gate's"
            notes.append(f"The run's own clips cannot be found, so {instead}: {error.message}")
    data = data or own_data
    nothing_trained = not model.tuned_parameters()
    if data is not None:
        gate = gate_clips(data, model, options.gate_clips)
        if sum(size > 1 for size in gate.sizes()) < 2:
            notes.append("Accuracy was not compared: that takes two classes with two readable clips each.")
    elif nothing_trained and options.precision == "float32":
        gate = drawn_trial(model, 1, PARITY_CLIPS)
        notes.append("Accuracy was not compared: nothing is trained, and no clips were given to try plain CLIP on.")
    else:
        gate = drawn_trial(model, options.gate_clips)
    if not options.needs_calibration:
        return ExportClips(gate, None, tuple(notes))
    seen = calibration_data or own_data or data
    calibration = calibration_clips(seen, model) if seen else drawn_trial(model, seed=1)
    return ExportClips(gate, calibration, tuple(notes))


def gate_clips(data: Dataset, model: MaClip, each: int = CLIPS_EACH) -> TrialClips:
    """Readable clips of classes that training did not see, where `data` has such. Raises `data-empty`."""
    return _read(data, GATE_SPLITS, model, each)


def calibration_clips(data: Dataset, model: MaClip, each: int = CLIPS_EACH) -> TrialClips:
    """Clips to measure activations on, of the training classes. Raises `data-empty`, `calibration-too-small`."""
    found = _read(data, CALIBRATION_SPLITS, model, each)
    if len(found.frames) < MIN_CALIBRATION_CLIPS:
        raise MaclipError(
            "calibration-too-small",
            f"{data.root} has {len(found.frames)} clips to calibrate on; at least {MIN_CALIBRATION_CLIPS} are needed.",
            "Add clips, give other --calibration-data, or use --quantization dynamic, which needs none.",
        )
    return found


def drawn_trial(model: MaClip, each: int = CLIPS_EACH, classes: int = CLASSES, seed: int = 0) -> TrialClips:
    """Generated clips of the drawn world's motions, for whoever has no data at hand."""
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


def _opened(data: str | Path | Dataset | None) -> Dataset | None:
    return open_data(Path(data)) if isinstance(data, (str, Path)) else data


def _read(data: Dataset, splits: Sequence[str], model: MaClip, each: int) -> TrialClips:
    """The first readable clips of the first classes of the first split that has two; others take the place of broken
    ones, and `source` counts those.
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
