"""The Python interface of the device: enroll clips, classify one, watch a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike

import numpy as np

from maclip_runtime import values
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.callbacks import CallbackList, Callbacks
from maclip_runtime.decisions import Classification, Decisions, Event
from maclip_runtime.diagnosis.diagnose import diagnose
from maclip_runtime.diagnosis.report import Diagnosis
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.evidence import Evidence
from maclip_runtime.fleet import HERE, Fleet, checked
from maclip_runtime.gallery import MAX_CLIP_SECONDS, ClassInfo, Gallery
from maclip_runtime.limits.calibrate import Calibration, calibrate
from maclip_runtime.limits.measured import gallery_limits
from maclip_runtime.matching.clips import sampled
from maclip_runtime.matching.enrolment import Enrolled, Enroller
from maclip_runtime.matching.index import CurrentIndex, Index
from maclip_runtime.reading.frames import Floats, Pixels
from maclip_runtime.reading.take import Take
from maclip_runtime.sources import Address, Roi, SourceOptions, options_of, redact
from maclip_runtime.sources.options import source_name
from maclip_runtime.streaming import Grid, Pipeline, Stream, gate_of, see_background, watch, window_of

PathOrName = str | PathLike[str]


class Recognizer:
    """A bundle and a gallery at work. Open one with `Recognizer.open` and use it in a `with` block.

    A change of the gallery, by this program or another, counts from the next clip or window on. Safe to use from
    several threads. Once closed, it raises `recognizer-closed`.
    """

    def __init__(self, bundle: Bundle, gallery: Gallery, encoder: Encoder, decisions: Decisions) -> None:
        self.bundle = bundle
        self.encoder = encoder
        self.decisions = decisions
        self._gallery = gallery
        self._index = CurrentIndex(gallery, encoder, self._limits)
        self._enroller = Enroller(gallery, encoder, self._index)
        self._pipeline = Pipeline(encoder, self._index, decisions)

    @classmethod
    def open(
        cls,
        bundle: PathOrName | Bundle,
        gallery: PathOrName,
        *,
        device: str = "auto",
        decisions: Decisions | None = None,
        allow_fallback: bool = False,
        threads: int | None = None,
        trust_engines: bool = False,
    ) -> Recognizer:
        """Open a bundle and a gallery.

        Args:
            bundle: the folder that `maclip export` wrote, or a bundle that `verify_bundle` has opened.
            gallery: the gallery's file; the first enrolment creates it.
            device: "auto", "cpu", "cuda", "tensorrt", ...: see `open_engine`.
            decisions: when an answer counts; default: `Decisions()`.
            allow_fallback: warn, instead of failing, if part of a graph runs on another device.
            threads: CPU threads; default: one for each usable core.
            trust_engines: see `Bundle.open`.

        Raises `bundle-missing`, `bundle-schema`, `bundle-corrupt`, `contract-mismatch`, `gallery-corrupt`,
        `engine-missing`, `device-missing`.
        """
        device, allow_fallback = values.text(device, "device"), values.flag(allow_fallback, "allow_fallback")
        decisions = Decisions() if decisions is None else values.instance(decisions, Decisions, "decisions")
        gallery = values.path(gallery, "gallery")
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle, trust_engines=trust_engines)
        kept = Gallery(gallery, contract=opened.manifest.contract)
        try:
            return cls(opened, kept, Encoder(opened, device, allow_fallback, threads), decisions)
        except BaseException:
            kept.close()
            raise

    def __enter__(self) -> Recognizer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the gallery and free the loaded graphs; open streams and watches end with `recognizer-closed`.

        Waits for a run that is in progress in another thread. Closing twice does nothing.
        """
        self.encoder.close()
        self._gallery.close()

    @property
    def gallery(self) -> Gallery:
        """The gallery's file: its clips, negatives and limits."""
        self.encoder.require_open()
        return self._gallery

    @property
    def index(self) -> CurrentIndex:
        """The classes as clips and windows are matched with them."""
        self.encoder.require_open()
        return self._index

    @property
    def enroller(self) -> Enroller:
        """Adds clips to the gallery."""
        self.encoder.require_open()
        return self._enroller

    def enroll(
        self,
        name: str,
        clips: PathOrName | Sequence[PathOrName],
        *,
        text: str | None = None,
        no_text: bool = False,
        force: bool = False,
        progress: Callable[[int], None] | None = None,
        roi: Roi | None = None,
    ) -> Enrolled:
        """Add clips of an action to the class `name`: all of them, or none if one fails.

        Args:
            name: the class; it need not exist yet.
            clips: video files or folders of frames.
            text: the action's name for the text branch: any text if the bundle has a text encoder, else a name of its
                vocabulary. Default: what the class had before, else `name`.
            no_text: enroll without text.
            force: also keep clips that are still, dark, blurred, there already, or that look like another class (see
                `quality.Reason`).
            progress: called with the number of clips read so far.
            roi: the part of each picture to use; default: all of it.

        Raises `name-unknown`, `text-missing`, `name-invalid`, `clip-unreadable`, `clip-too-short`,
        `output-unwritable`; `clip-rejected` unless `force`.
        """
        return self.enroller.enroll(name, clips, text=text, no_text=no_text, force=force, progress=progress, roi=roi)

    def enroll_frames(
        self,
        name: str,
        frames: Pixels,
        *,
        duration_s: float,
        text: str | None = None,
        no_text: bool = False,
        force: bool = False,
        source: str = "frames",
    ) -> Enrolled:
        """Add one clip that the program recorded itself to the class `name`.

        Args:
            name: the class; it need not exist yet.
            frames: uint8 [N, H, W, 3] RGB, N >= T, as they come from the camera.
            duration_s: how long the clip lasts, in seconds.
            text, no_text, force: as for `enroll`.
            source: where the clip comes from, for the gallery's list.

        Raises `frames-invalid`, and what `enroll` raises.
        """
        seconds = values.number(duration_s, "duration_s", code="frames-invalid", above=0, maximum=MAX_CLIP_SECONDS)
        takes = [Take(values.pixels(frames, "frames", "N, H, W, 3"), seconds, redact(values.text(source, "source")))]
        return self.enroller.enroll_takes(name, takes, text=text, no_text=no_text, force=force)

    def add_negatives(
        self, clips: PathOrName | Sequence[PathOrName], *, force: bool = False, roi: Roi | None = None
    ) -> int:
        """Add clips that show none of the classes, and return how many; they can only lower the limits.

        Args:
            clips: video files or folders of frames.
            force: also add clips that are there already.
            roi: the part of each picture to use; default: all of it.

        Raises `clip-rejected` unless `force`, and what reading a clip raises.
        """
        return self.enroller.add_negatives(clips, force=force, roi=roi)

    def calibrate(
        self,
        background: Address | Sequence[Address] = (),
        *,
        false_alarms: float | None = None,
        window_s: float | None = None,
        hop_s: float | None = None,
        seconds: float | None = None,
        progress: Callable[[float], None] | None = None,
        options: SourceOptions | None = None,
        fleet: Fleet = HERE,
    ) -> Calibration:
        """Measure and keep for each class the distance above which the answer is "unknown".

        Args:
            background: videos or cameras in which none of the classes happens, cut into windows as `watch` does;
                default: the negatives and the other classes stand for it.
            false_alarms: how many an hour each class may cause; default: the limits with the fewest errors.
            window_s, hop_s: as for `watch`.
            seconds: how much of each source to look at; default: all of it. A camera needs it.
            progress: called with the seconds of background seen so far.
            options: how to open the background.
            fleet: whose workers look at the videos (`maclip_runtime.fleet`); default: this process.

        Raises `gallery-empty`, `background-missing`, `option-invalid`, `window-invalid` and what reading raises.
        """
        window_s, hop_s = window_of(window_s, hop_s)
        seconds = None if seconds is None else values.number(seconds, "seconds", above=0)
        false_alarms = None if false_alarms is None else values.number(false_alarms, "false_alarms", minimum=0)
        options = None if options is None else values.instance(options, SourceOptions, "options")
        values.function(progress, "progress")
        sources, fleet = values.addresses(background, "background"), checked(fleet)
        index, seen = self.index.ready(), None
        if sources:
            window_s = index.window_s if window_s is None else window_s
            seen = see_background(
                self.encoder, sources, window_s=window_s, hop_s=hop_s, seconds=seconds, progress=progress,
                options=options, fleet=fleet,
            )  # fmt: skip
        return calibrate(self.gallery, self.encoder, self.index.ready(), seen, false_alarms=false_alarms)

    def diagnose(self, *, progress: Callable[[int, int], None] | None = None) -> Diagnosis:
        """Say what is wrong with the gallery: each clip is left out in turn and answered by the rest.

        progress: called with the number of clips left out so far, and of all.
        Raises `gallery-corrupt`. An empty gallery is a finding, not an error.
        """
        values.function(progress, "progress")
        return diagnose(self.gallery, self.encoder, self.index.get(), progress)

    def classify(self, clip: PathOrName, *, roi: Roi | None = None) -> Classification:
        """Say which enrolled action a whole clip shows.

        Args:
            clip: a video file or a folder of frames.
            roi: the part of each picture to use; default: all of it.

        Raises `gallery-empty`, `clip-unreadable`, `clip-too-short`, `features-invalid` (they are not finite).
        """
        clip = values.path(clip, "clip")
        roi = None if roi is None else values.instance(roi, Roi, "roi")
        self.index.ready()
        take, answer = self._pipeline.whole(clip, roi)
        return Classification.of(answer, self.decisions, source=take.source, duration_s=take.duration_s)

    def watch(
        self,
        sources: Address | Sequence[Address],
        *,
        window_s: float | None = None,
        hop_s: float | None = None,
        callbacks: Sequence[Callbacks] = (),
        options: SourceOptions | Sequence[SourceOptions] | None = None,
        motion_gate: float | None = None,
        evidence: Evidence | None = None,
    ) -> Iterator[Event]:
        """Yield the events of one source or several as they happen; the sources are read as you iterate.

        Cameras are opened at the same time, files when their turn comes. One that cannot be opened, or fails later,
        ends with the events of what was open in it, and the others go on; once all have ended the first failure is
        raised. A device that fails leaves windows unanswered; after three failures in a row all end, and
        `device-failed` is raised.
        A file shorter than a window is answered as one whole clip. Each source has a name of its own: two of one
        address are told apart by a number.

        Args:
            sources: videos, folders of frames, cameras (a number or a device) or addresses.
            window_s: seconds looked at together; default: 3/4 of the enrolled clips' median duration.
            hop_s: seconds between windows, rounded to a T-th of the window; default: a quarter of the window.
            callbacks: called for frames, verdicts, events, states and timings.
            options: how to open the sources: for all of them, or one for each.
            motion_gate: grey levels below which a picture is still and costs almost nothing (see `MotionGate`);
                default: no gate.
            evidence: keeps a strip and a clip of each event; default: none is kept.

        Raises at once `gallery-empty`, `window-invalid`, `motion-invalid`, `option-invalid`; while iterating
        `source-unknown`, `source-lost`, `clip-unreadable`, `clip-too-short`, `device-failed`, `recognizer-closed`.
        """
        uris = values.addresses(sources, "sources")
        chosen = options_of(uris, options)
        grid = self._grid(window_s, hop_s)
        gates = [gate_of(motion_gate) for _ in uris]
        every = CallbackList(
            values.instance(one, Callbacks, "callbacks")
            for one in [*_evidence(evidence), *values.items(callbacks, "callbacks", "a list of Callbacks")]
        )
        pipeline = Pipeline(self.encoder, self._index, self.decisions, every)
        return watch(pipeline, list(zip(uris, chosen, strict=True)), gates, grid, every, evidence)

    def stream(
        self,
        *,
        name: str = "camera",
        window_s: float | None = None,
        hop_s: float | None = None,
        motion_gate: float | None = None,
        evidence: Evidence | None = None,
    ) -> Stream:
        """Open a stream for frames that the program hands in itself; use it in a `with` block.

        Args:
            name: the `source` of its events.
            window_s, hop_s, motion_gate, evidence: as for `watch`.

        Raises `gallery-empty`, `window-invalid`, `motion-invalid`.
        """
        name, grid = source_name(name), self._grid(window_s, hop_s)
        track = self._pipeline.track(redact(name), grid, gate_of(motion_gate), live=True)
        return Stream(self._pipeline, track, *_evidence(evidence))

    def embed(self, frames: Pixels) -> Floats:
        """Frame features of one clip, as a query: uint8 [N, H, W, 3] RGB, N >= T -> float32 [T, D'].

        T of the frames are sampled. Raises `frames-invalid`, `clip-too-short`.
        """
        take = Take(values.pixels(frames, "frames", "N, H, W, 3"), 0.0, "The clip")
        return self.encoder.features(sampled(take, self.bundle.manifest)[None])[0]

    def classes(self) -> list[ClassInfo]:
        """The enrolled classes."""
        return self.gallery.classes()

    def remove(self, name: str, *, clip_id: int | None = None) -> int:
        """Remove a class, or one clip of it, and return how many clips went. Raises `class-unknown`, `clip-unknown`."""
        return self.gallery.remove(name, clip_id=clip_id)

    def rename(self, old: str, new: str) -> None:
        """Rename a class. Raises `class-unknown`, `class-exists`, `name-invalid`."""
        self.gallery.rename(old, new)

    def _grid(self, window_s: float | None, hop_s: float | None) -> Grid:
        window_s, hop_s = window_of(window_s, hop_s)
        default_s = self.index.ready().window_s
        return Grid.of(self.bundle.manifest.frames, default_s if window_s is None else window_s, hop_s)

    def _limits(self, index: Index, by_clip: Mapping[int, Floats]) -> Floats:
        limit = self.decisions.limit
        own = gallery_limits(self._gallery, self.encoder, index, by_clip) if limit is None else limit
        return np.full(len(index.names), own, np.float32)


def _evidence(evidence: Evidence | None) -> list[Evidence]:
    return [] if evidence is None else [values.instance(evidence, Evidence, "evidence")]
