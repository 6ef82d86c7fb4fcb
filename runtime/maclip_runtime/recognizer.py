"""The Python interface of the device: enroll clips, classify one, watch a stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.callbacks import Audience, Listener
from maclip_runtime.decisions import UNKNOWN, Answer, Decisions, Event, Smoother, judge
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery import ClassInfo, Gallery
from maclip_runtime.matching.current import CurrentIndex
from maclip_runtime.matching.enrolment import Enrolled, Enroller, Take
from maclip_runtime.matching.index import Index
from maclip_runtime.reading.clip import Clip, read_clip
from maclip_runtime.reading.frames import Floats, Pixels, prepare, segment_indices
from maclip_runtime.sources import Roi, SourceOptions, local_path, open_source, redact
from maclip_runtime.streaming import Answerer, Cutter, Feed, Grid, MotionGate, Network, Pushed, Stream, Watcher, gate_of

if TYPE_CHECKING:
    from maclip_runtime.limits.calibrate import Calibration

PathOrName = str | PathLike[str]
Watched = PathOrName | int  # a camera may be a number


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

    A change of the gallery, by this program or another, counts from the next clip or window on. Safe to use from
    several threads.
    """

    def __init__(self, bundle: Bundle, gallery: Gallery, encoder: Encoder, decisions: Decisions) -> None:
        self.bundle = bundle
        self.gallery = gallery
        self.encoder = encoder
        self.decisions = decisions
        self.enroller = Enroller(gallery, encoder)
        self._index = CurrentIndex(gallery, encoder)
        self._pushed = Pushed(self._answerer(Audience()))

    @classmethod
    def open(
        cls,
        bundle: PathOrName,
        gallery: PathOrName,
        device: str = "auto",
        decisions: Decisions | None = None,
        allow_fallback: bool = False,
        threads: int | None = None,
    ) -> Recognizer:
        """Open a bundle's folder and a gallery's file (which the first enrolment creates).

        `allow_fallback` and `threads` are those of `open_engine`. Raises `bundle-missing`, `bundle-schema`,
        `bundle-corrupt`, `contract-mismatch`, `gallery-corrupt`, `engine-missing`, `device-missing`.
        """
        opened = Bundle.open(bundle)
        kept = Gallery(gallery, contract=opened.manifest.contract)
        try:
            return cls(opened, kept, Encoder(opened, device, allow_fallback, threads), decisions or Decisions())
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
        roi: Roi | None = None,
    ) -> Enrolled:
        """Add clips of an action to the class `name`: all of them, or none where one fails.

        The class's text is `text`, or what the class had before, or its own name; `no_text` goes without. A
        bundle with a text encoder takes any text, another the names of its vocabulary.
        `progress` is called with the number of clips read. Raises `name-unknown`, `text-missing`,
        `name-invalid`, `clip-unreadable`, `clip-too-short`, `output-unwritable`; unless `force`, `clip-rejected` for
        clips that are still, dark, blurred, enrolled already, or that look like another class (see `quality.Reason`).
        """
        return self.enroller.enroll(name, clips, text, no_text, force, progress, roi)

    def enroll_frames(
        self,
        name: str,
        frames: Pixels,
        duration_s: float,
        text: str | None = None,
        no_text: bool = False,
        force: bool = False,
        source: str = "frames",
    ) -> Enrolled:
        """`enroll` for a program that owns its camera: one clip, uint8 [N, H, W, 3] RGB with N >= T, as it comes.

        Raises `frames-invalid`, and what `enroll` raises.
        """
        return self.enroller.enroll_takes(name, [Take(frames, duration_s, redact(source))], text, no_text, force)

    def add_negatives(
        self, clips: PathOrName | Sequence[PathOrName], force: bool = False, roi: Roi | None = None
    ) -> int:
        """Keep clips that show none of the classes: they can only lower the limits. How many were added.

        Raises `clip-rejected` for a clip that is there already, and what reading a clip raises.
        """
        return self.enroller.add_negatives(clips, force, roi=roi)

    def calibrate(
        self,
        background: Watched | Sequence[Watched] = (),
        false_alarms: float | None = None,
        window_s: float | None = None,
        hop_s: float | None = None,
        seconds: float | None = None,
        progress: Callable[[float], None] | None = None,
        options: SourceOptions | None = None,
    ) -> Calibration:
        """Measure and keep for each class the distance above which the answer is "unknown" (see `calibration`).

        `background`: videos in which none of the classes happens, cut into windows as `watch` does; without any the
        negatives and the other classes stand for it. `false_alarms`: how many an hour each class may cause at most;
        None for the fewest errors. `seconds`: how much of each source is looked at. Raises `gallery-empty`,
        `background-missing`, `option-invalid`, `window-invalid`, and what reading a source raises.
        """
        from maclip_runtime.limits.background import see_background
        from maclip_runtime.limits.calibrate import calibrate

        index = self._index.ready()
        sources = [background] if isinstance(background, (str, PathLike, int)) else list(background)
        seen = None
        if sources:
            window_s = index.window_s if window_s is None else window_s
            seen = see_background(self.encoder, sources, window_s, hop_s, seconds, progress, options)
        return calibrate(self.gallery, self.encoder, seen, false_alarms)

    def classify(self, clip: PathOrName, roi: Roi | None = None) -> Classification:
        """Which enrolled action a whole clip shows, or the part `roi` of its picture.

        Raises `gallery-empty`, `clip-unreadable`, `clip-too-short`, `features-invalid` (numbers that are not finite).
        """
        self._index.ready()
        read = self._read(clip, roi)
        answer = self._answerer(Audience()).measure([self._features(read.frames)])[0]
        if answer.missing:
            raise MaclipError(
                "features-invalid",
                f"{read.path} cannot be answered: nothing was measured ({answer.missing}).",
                "Try --device cpu; if that does not help, export the bundle again in float32.",
            )
        verdict = judge(answer.distances, answer.probabilities, answer.names, answer.limits, self.decisions)
        limit = float(answer.limits[answer.names.index(verdict.nearest)])
        return Classification(
            verdict.label,
            verdict.nearest,
            verdict.score,
            verdict.distance,
            verdict.margin,
            None if np.isinf(limit) else limit,
            dict(zip(answer.names, answer.probabilities.tolist(), strict=True)),
            dict(zip(answer.names, answer.distances.tolist(), strict=True)),
            redact(clip),
            read.duration_s,
        )

    def watch(
        self,
        sources: Watched | Sequence[Watched],
        window_s: float | None = None,
        hop_s: float | None = None,
        listeners: Sequence[Listener] = (),
        options: SourceOptions | Sequence[SourceOptions] | None = None,
        motion_gate: float | None = None,
    ) -> Iterator[Event]:
        """Events of a stream, or of several, as they happen; they are read as the iterator is consumed.

        `window_s`: how much is looked at at once, by default 3/4 of the enrolled clips' median duration. `hop_s`: how
        often, by default a quarter of that, rounded to a T-th of the window (see `Grid`). A file shorter than a
        window is one whole clip. `listeners` are told what happens beside events. `options` for all sources, or one
        for each. `motion_gate`: grey levels below which a frame is still (see `MotionGate`), None for no gate.

        A source that fails ends what is open in it and the others go on; once all have ended the first failure is
        raised. Raises `gallery-empty`, `window-invalid`, `motion-invalid`, `option-invalid` at once; while iterating
        `source-unknown`, `source-lost`, `clip-unreadable`, `clip-too-short`.
        """
        uris = [sources] if isinstance(sources, (str, PathLike, int)) else list(sources)
        chosen = list(options) if isinstance(options, Sequence) else [options or SourceOptions()] * len(uris)
        if not uris or len(chosen) != len(uris):
            raise MaclipError(
                "option-invalid",
                f"{len(uris)} sources were given, and options for {len(chosen)}.",
                "Give one source or more, and options for all or for each.",
            )
        grid = self._grid(window_s, hop_s)
        gates = [gate_of(motion_gate) for _ in uris]
        return self._watch(list(zip(uris, chosen, gates, strict=True)), grid, Audience(listeners))

    def push(
        self,
        frame: Pixels,
        time_s: float,
        source: str = "camera",
        window_s: float | None = None,
        hop_s: float | None = None,
        motion_gate: float | None = None,
    ) -> list[Event]:
        """Hand in one frame, uint8 [H, W, 3] RGB, of a camera that the program owns; the events it causes.

        `time_s` is any clock in seconds; one that goes back, or a gap of a minute, begins the stream anew. The first
        frame of a `source` settles its window, hop and gate, as in `watch`. A call takes as long as the network where
        a window is full. Raises `frames-invalid`; with the first frame `gallery-empty`, `window-invalid`.
        """

        def begin() -> Stream:
            return self._stream(source, self._grid(window_s, hop_s), gate_of(motion_gate), live=True)

        return self._pushed.push(frame, time_s, source, begin)

    def end(self, source: str = "camera") -> list[Event]:
        """No more frames of `source` will be pushed: the events that end what is open there."""
        return self._pushed.end(source)

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
        return self.gallery.remove(name, clip_id=clip_id)

    def rename(self, old: str, new: str) -> None:
        """Rename a class. Raises `class-unknown`, `class-exists`, `name-invalid`."""
        self.gallery.rename(old, new)

    def _watch(
        self, wanted: list[tuple[Watched, SourceOptions, MotionGate | None]], grid: Grid, audience: Audience
    ) -> Iterator[Event]:
        with ExitStack() as stack:
            feeds = []
            for uri, options, gate in wanted:
                source = stack.enter_context(open_source(uri, options))
                stream = self._stream(source.name, grid, gate, source.live)
                whole = None if source.live else partial(self._whole, uri, options)
                feeds.append(Feed(source, stream, whole))
            yield from Watcher(feeds, self._answerer(audience), audience).events()

    def _whole(self, uri: Watched, options: SourceOptions) -> tuple[Answer, float]:
        """The answer to a file as a whole clip, and its duration in seconds."""
        clip = self._read(str(uri), options.roi)
        return self._answerer(Audience()).measure([self._features(clip.frames)])[0], clip.duration_s

    def _grid(self, window_s: float | None, hop_s: float | None) -> Grid:
        window_s = self._index.ready().window_s if window_s is None else window_s
        return Grid.of(self.bundle.manifest.frames, window_s, hop_s)

    def _stream(self, name: str, grid: Grid, gate: MotionGate | None, live: bool) -> Stream:
        smoother = Smoother(name, self.decisions, time.time if live else None)
        return Stream(Cutter(grid, self._prepare, gate, live), smoother)

    def _answerer(self, audience: Audience) -> Answerer:
        return Answerer(Network(self.encoder, audience), self._index.in_stream, self._limits)

    def _limits(self, index: Index) -> Floats:
        """For each class the distance above which the answer is "unknown": the user's, else the gallery's own."""
        if self.decisions.max_distance is None:
            return index.limits
        return np.full(len(index.names), self.decisions.max_distance, np.float32)

    def _read(self, path: PathOrName, roi: Roi | None = None) -> Clip:
        wanted = self.bundle.manifest.frames
        transform = self._prepare if roi is None else lambda frame: self._prepare(roi.view(frame))
        return read_clip(local_path(path), partial(segment_indices, frames=wanted), transform)

    def _prepare(self, frame: Pixels) -> Pixels:
        return prepare(frame, self.bundle.manifest.preprocess)

    def _features(self, frames: Pixels) -> Floats:
        return self.encoder.features(frames[None])[0]
