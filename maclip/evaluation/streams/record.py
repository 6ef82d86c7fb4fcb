"""Records of evaluations on streams: read, write, and compare two of them gallery by gallery."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maclip.evaluation.evaluator import half_width
from maclip.evaluation.record import invalid_record
from maclip.writing import replacing
from maclip_runtime.bundle.schema import from_dict, read_json
from maclip_runtime.errors import MaclipError

STREAM_RECORD_FORMAT = 1
STREAMS = "streams"  # the kind of these records
# Each figure of a gallery, and whether a higher one is better.
FIGURES = {
    "f1": True,
    "precision": True,
    "recall": True,
    "false_alarms_an_hour": False,
    "latency_s": False,
    "accuracy": True,
    "auroc": True,
    "strangers_passing": False,
}


@dataclass(frozen=True)
class GalleryScores:
    """What one gallery reached.

    names: the enrolled actions.
    hours: of video that was watched.
    actions, found, repeated, false_alarms: enrolled actions that happened; how many were reported; and events beside.
    f1, precision, recall, false_alarms_an_hour: of events.
    latency_s: median seconds from an action's start to the end of the window that reported it; None: none was found.
    accuracy: of enrolled actions cut out exactly, without limits, 0..1; None: there were none.
    auroc: area under the ROC curve of strangers cut out exactly, by distance; None: there were none.
    strangers_passing: their share that passes where 95 % of the enrolled actions do; None: there were none.
    """

    names: tuple[str, ...]
    hours: float
    actions: int
    found: int
    repeated: int
    false_alarms: int
    f1: float
    precision: float
    recall: float
    false_alarms_an_hour: float
    latency_s: float | None
    accuracy: float | None
    auroc: float | None
    strangers_passing: float | None


@dataclass(frozen=True)
class Figure:
    """The mean over the `galleries` that have the figure, and the half-width of its 95 % interval; None for one."""

    mean: float | None
    interval: float | None
    galleries: int


@dataclass(frozen=True)
class StreamRecord:
    """The figures of an evaluation on streams, with everything needed to repeat it.

    kind, format, tool_version: of the file, and of maclip.
    model: the run folder, or the name of the backbone.
    adapters_sha256: digest of the tuned tensors; None if there are none.
    streams, split: the file of annotations, and the split.
    data: folder of the clips that were enrolled; None: segments of other videos were.
    way, shot, seed, names: actions of a gallery, clips of each, seed, and their text: "own", "none" or "wrong".
    window_s, hop_s: seconds of a window, and between windows.
    galleries_sha256: digest of the galleries, of the watched videos and of what happens in them.
    figures: by name, see `FIGURES`.
    galleries: figures of each.
    seen_in_training: actions that the model was trained on.
    left_out: a line for each video or segment that was not used.
    """

    kind: str
    format: int
    tool_version: str
    model: str
    adapters_sha256: str | None
    streams: str
    split: str
    data: str | None
    way: int
    shot: int
    seed: int
    names: str
    window_s: float
    hop_s: float
    galleries_sha256: str
    figures: dict[str, Figure]
    galleries: tuple[GalleryScores, ...]
    seen_in_training: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class FigureComparison:
    """One figure of two records A and B on the same galleries.

    mean_a, mean_b: over the `galleries` that have the figure in both.
    difference, interval: B - A, and the half-width of its paired 95 % interval (None for fewer than two galleries).
    higher_is_better: whether it is.
    """

    figure: str
    galleries: int
    mean_a: float | None
    mean_b: float | None
    difference: float | None
    interval: float | None
    higher_is_better: bool

    @property
    def separated(self) -> bool:
        """Whether the interval excludes zero."""
        return self.difference is not None and self.interval is not None and abs(self.difference) > self.interval

    @property
    def verdict(self) -> str:
        """Whether B is "better", "worse", or "neither": the interval includes zero."""
        if not self.separated or self.difference is None:
            return "neither"
        return "better" if (self.difference > 0) == self.higher_is_better else "worse"


def summarise(galleries: Sequence[GalleryScores]) -> dict[str, Figure]:
    """Each figure's mean and interval over galleries."""
    return {name: _figure(name, galleries) for name in FIGURES}


def write_stream_record(path: Path, record: StreamRecord) -> None:
    """Write a record as JSON, atomically. Raises `output-unwritable`."""
    with replacing(path) as temporary:
        text = json.dumps(dataclasses.asdict(record), ensure_ascii=False, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


def is_stream_record(path: Path) -> bool:
    """Whether the file says of itself that it is a record of an evaluation on streams."""
    try:
        data = read_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and data.get("kind") == STREAMS


def read_stream_record(path: Path) -> StreamRecord:
    """Read a record. Raises `record-invalid`."""
    try:
        data = read_json(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.get("kind") != STREAMS or data.get("format") != STREAM_RECORD_FORMAT:
            raise ValueError(f"it is not one of streams in format {STREAM_RECORD_FORMAT}")
        record = from_dict(StreamRecord, data)
        if not record.galleries or record.figures != summarise(record.galleries):
            raise ValueError("its figures do not match its galleries")
        return record
    except (OSError, ValueError, MaclipError) as error:
        raise invalid_record(path, error, "maclip eval --streams FILE --json FILE") from error


def compare_streams(
    a: StreamRecord, b: StreamRecord, name_a: str = "A", name_b: str = "B"
) -> tuple[FigureComparison, ...]:
    """Compare B with A, gallery by gallery. Raises `galleries-differ` if they were measured on different galleries."""
    if a.galleries_sha256 != b.galleries_sha256 or len(a.galleries) != len(b.galleries):
        raise MaclipError(
            "galleries-differ",
            f"{name_a} and {name_b} were measured on different galleries or videos, so they cannot be paired.",
            "Evaluate both with the same --streams, DATA, split, --way, --shot, --galleries and --seed.",
        )
    return tuple(_compared(name, better, a, b) for name, better in FIGURES.items())


def _values(name: str, galleries: Sequence[GalleryScores]) -> list[float | None]:
    return [getattr(one, name) for one in galleries]


def _figure(name: str, galleries: Sequence[GalleryScores]) -> Figure:
    values = np.array([value for value in _values(name, galleries) if value is not None])
    if not len(values):
        return Figure(None, None, 0)
    return Figure(float(values.mean()), half_width(values) if len(values) > 1 else None, len(values))


def _compared(name: str, better: bool, a: StreamRecord, b: StreamRecord) -> FigureComparison:
    pairs = [
        (one, other)
        for one, other in zip(_values(name, a.galleries), _values(name, b.galleries), strict=True)
        if one is not None and other is not None
    ]
    if not pairs:
        return FigureComparison(name, 0, None, None, None, None, better)
    both = np.array(pairs)
    difference = both[:, 1] - both[:, 0]
    interval = half_width(difference) if len(pairs) > 1 else None
    means = (float(both[:, 0].mean()), float(both[:, 1].mean()))
    return FigureComparison(name, len(pairs), *means, float(difference.mean()), interval, better)
