"""The Python interface of the device: enroll clips, classify one, watch a stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike

import numpy as np

from maclip_runtime.bundle import Bundle
from maclip_runtime.clips import Clip, read_clip
from maclip_runtime.decisions import UNKNOWN, Answer, Decisions, Event, Smoother, judge
from maclip_runtime.encoder import Encoder
from maclip_runtime.enrolment import Enrolled, Enroller
from maclip_runtime.errors import MaclipError
from maclip_runtime.frames import Floats, Pixels, prepare, segment_indices
from maclip_runtime.gallery import ClassInfo, Gallery
from maclip_runtime.index import Index, build_index
from maclip_runtime.sources import Frame, is_live, local_path, open_source, redact
from maclip_runtime.windows import default_hop, slide

PathOrName = str | PathLike[str]


@dataclass(frozen=True)
class Classification:
    """The answer for a whole clip.

    `label` is a class or "unknown"; `nearest` the likeliest class either way, with its probability `score`,
    its `distance`, and `margin`, how far the next class's probability lies below. `max_distance` is where
    "unknown" begins for that class (None: no limit). `probabilities` and `distances` are by class. `source` has
    no credentials.
    """

    label: str
    nearest: str
    score: float
    distance: float
    margin: float
    max_distance: float | None
    probabilities: dict[str, float]
    distances: dict[str, float]
    source: str
    duration_s: float

    @property
    def unknown(self) -> bool:
        """Whether no enrolled class fits."""
        return self.label == UNKNOWN


class Recognizer:
    """A bundle and a gallery at work. Use as a context manager, from `Recognizer.open`.

    A change of the gallery, by this program or another, counts from the next clip or window on.
    """

    def __init__(self, bundle: Bundle, gallery: Gallery, encoder: Encoder, decisions: Decisions) -> None:
        self.bundle = bundle
        self.gallery = gallery
        self.encoder = encoder
        self.decisions = decisions
        self._enroller = Enroller(gallery, encoder)
        self._index: Index | None = None
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        bundle: PathOrName,
        gallery: PathOrName,
        device: str = "auto",
        decisions: Decisions | None = None,
    ) -> Recognizer:
        """Open a bundle's folder and a gallery's file (which the first enrolment creates).

        Raises `bundle-missing`, `bundle-schema`, `bundle-corrupt`, `contract-mismatch`, `gallery-corrupt`,
        `engine-missing`, `device-missing`.
        """
        opened = Bundle.open(bundle)
        kept = Gallery(gallery, opened.manifest.contract)
        try:
            return cls(opened, kept, Encoder(opened, device), decisions or Decisions())
        except BaseException:
            kept.close()
            raise

    def __enter__(self) -> Recognizer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the gallery."""
        self.gallery.close()

    def enroll(
        self,
        name: str,
        clips: PathOrName | Sequence[PathOrName],
        text: str | None = None,
        no_text: bool = False,
        force: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Enrolled:
        """Add clips of an action to the class `name`: all of them, or none where one fails.

        The class's text is `text`, or what the class had before, or its own name; `no_text` goes without. A
        bundle with a text encoder takes any text, another the names of its vocabulary.
        `progress` is called with the number of clips read. Raises `name-unknown`, `text-missing`,
        `name-invalid`, `clip-unreadable`, `clip-too-short`, `clip-duplicate` (unless `force`), `output-unwritable`.
        """
        return self._enroller.enroll(name, clips, text, no_text, force, progress)

    def classify(self, clip: PathOrName) -> Classification:
        """Which enrolled action a whole clip shows.

        Raises `gallery-empty`, `clip-unreadable`, `clip-too-short`.
        """
        index = self._ready_index()
        read = self._read(clip)
        answer = self._match(index, read.frames)
        verdict = judge(answer.distances, answer.probabilities, answer.names, answer.limits, self.decisions)
        limit = float(answer.limits[index.names.index(verdict.nearest)])
        return Classification(
            verdict.label,
            verdict.nearest,
            verdict.score,
            verdict.distance,
            verdict.margin,
            None if np.isinf(limit) else limit,
            dict(zip(index.names, answer.probabilities.tolist(), strict=True)),
            dict(zip(index.names, answer.distances.tolist(), strict=True)),
            redact(clip),
            read.duration_s,
        )

    def watch(
        self, source: PathOrName | int, window_s: float | None = None, hop_s: float | None = None
    ) -> Iterator[Event]:
        """Events of a stream as they happen; the stream is read as the iterator is consumed.

        `window_s`: how much is looked at at once, by default the median duration of the enrolled clips.
        `hop_s`: how often, by default a quarter of that. A file shorter than a window is one window. Raises
        `gallery-empty` at once; `clip-unreadable`, `clip-too-short`, `source-lost` while iterating.
        """
        index = self._ready_index()
        window_s = index.duration_s if window_s is None else window_s
        hop_s = default_hop(window_s) if hop_s is None else hop_s
        if not (0 < window_s < float("inf") and 0 < hop_s < float("inf")):
            raise MaclipError(
                "window-invalid",
                f"A window of {window_s} s every {hop_s} s is not possible.",
                "Give seconds above 0.",
            )
        return self._watch(source, window_s, hop_s)

    def embed(self, frames: Pixels) -> Floats:
        """Frame features of one clip, as a query: uint8 [T or more, H, W, 3] RGB -> float32 [T, D'].

        Of more than T frames, T are sampled. Raises `clip-too-short` for fewer.
        """
        wanted = self.bundle.manifest.frames
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise MaclipError(
                "frames-invalid",
                f"Frames are uint8 [T, H, W, 3], not {frames.dtype} {list(frames.shape)}.",
                "Give RGB bytes.",
            )
        if len(frames) < wanted:
            raise MaclipError(
                "clip-too-short", f"{len(frames)} frames; at least {wanted} are needed.", "Give more frames."
            )
        chosen = frames[segment_indices(len(frames), wanted)]
        return self._features(np.stack([self._prepare(frame) for frame in chosen]))

    def classes(self) -> list[ClassInfo]:
        """The enrolled classes."""
        return self.gallery.classes()

    def remove(self, name: str, clip_id: int | None = None) -> int:
        """Remove a class, or one clip of it; how many clips went. Raises `class-unknown`, `clip-unknown`."""
        return self.gallery.remove(name, clip_id)

    def rename(self, old: str, new: str) -> None:
        """Rename a class. Raises `class-unknown`, `class-exists`, `name-invalid`."""
        self.gallery.rename(old, new)

    def _watch(self, source: PathOrName | int, window_s: float, hop_s: float) -> Iterator[Event]:
        name = redact(source)
        windows, ended, live = 0, _LastTime(), is_live(source)
        smoother = Smoother(name, self.decisions, time.time if live else None)
        length = self.bundle.manifest.frames
        with open_source(source) as opened:
            for window in slide(ended.note(opened), length, window_s, hop_s, self._prepare, short=live):
                windows += 1
                yield from smoother.push(self._answer(window.frames), *window.covers_s)
        if not windows and not live:
            # A file can be read again, exactly as a whole clip is.
            clip = self._read(str(source))
            yield from smoother.push(self._answer(clip.frames), 0.0, clip.duration_s)
        yield from smoother.finish(ended.end_s)

    def _answer(self, frames: Pixels) -> Answer:
        index = self._current_index()
        return self._match(index, frames) if index else Answer.nothing()

    def _match(self, index: Index, frames: Pixels) -> Answer:
        match = self.encoder.match(self._features(frames)[None], index.prototypes, index.text, index.has_text)
        return Answer(index.names, match.distances[0], match.probabilities[0], self._limits(index))

    def _limits(self, index: Index) -> Floats:
        """For each class the distance above which the answer is "unknown": the user's, else the gallery's own."""
        if self.decisions.max_distance is None:
            return index.limits
        return np.full(len(index.names), self.decisions.max_distance, np.float32)

    def _current_index(self) -> Index | None:
        with self._lock:
            if self._index is None or self._index.generation != self.gallery.generation:
                self._index = build_index(self.gallery, self.encoder)
            return self._index

    def _ready_index(self) -> Index:
        index = self._current_index()
        if index is None:
            raise MaclipError(
                "gallery-empty", f"The gallery {self.gallery.path} has no classes.", "Enroll a clip first."
            )
        return index

    def _read(self, path: PathOrName) -> Clip:
        wanted = self.bundle.manifest.frames
        return read_clip(local_path(path), partial(segment_indices, frames=wanted), self._prepare)

    def _prepare(self, frame: Pixels) -> Pixels:
        return prepare(frame, self.bundle.manifest.preprocess)

    def _features(self, frames: Pixels) -> Floats:
        return self.encoder.features(frames[None])[0]


class _LastTime:
    """Notes when the frames that pass end: the last one's time and one more step, in seconds."""

    def __init__(self) -> None:
        self.end_s = 0.0

    def note(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        last_s, step_s = None, 0.0
        for frame in frames:
            if last_s is not None and frame.time_s > last_s:
                step_s = frame.time_s - last_s
            last_s = frame.time_s
            self.end_s = last_s + step_s
            yield frame
