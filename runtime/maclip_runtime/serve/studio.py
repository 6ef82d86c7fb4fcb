"""The running whole: a watch in a thread of its own, and everything that the page shows or changes."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maclip_runtime.callbacks import CallbackList, Callbacks
from maclip_runtime.decisions import UNCERTAIN, UNKNOWN, Answer, Event, Verdict
from maclip_runtime.errors import MaclipError
from maclip_runtime.evidence import Evidence
from maclip_runtime.limits.calibrate import Background, Calibration, calibrate
from maclip_runtime.reading.frames import Floats
from maclip_runtime.recognizer import Recognizer
from maclip_runtime.serve.board import Board
from maclip_runtime.serve.clips import NewClip, NewClips, min_pictures
from maclip_runtime.serve.film import Film, is_still
from maclip_runtime.serve.jobs import Jobs, Progress
from maclip_runtime.serve.shelf import Shelf
from maclip_runtime.serve.state import State
from maclip_runtime.serve.teaching import Teaching
from maclip_runtime.serve.windows import Seen, Windows, kind_of
from maclip_runtime.sources import Roi, SourceOptions, SourceStatus, is_live, local_path, redact, scheme_of
from maclip_runtime.streaming import Grid, Pipeline, gate_of, watch
from maclip_runtime.streaming.control import Control

log = logging.getLogger("maclip")

EMPTY_WINDOW_SECONDS = 2.0  # while nothing is enrolled that would say how long actions last
OTHER_WINDOW = 0.2  # by which the default window must differ, as a share, before windows are cut anew
AGAIN_SECONDS = 5.0  # before a watch that ended is started again
RECORD_PATIENCE_SECONDS = 3.0  # beyond the recording itself
BETTER = 0.02  # match by which a later window shows an event better

Sources = Sequence[tuple[str, SourceOptions]]


class _Latest(NamedTuple):
    """The last window of a source."""

    features: Floats
    verdict: Verdict
    start_s: float
    end_s: float


class Studio(Callbacks):
    """Watches the sources and keeps what the page needs. A context manager: within it, it watches.

    recognizer: with its gallery, which may be empty.
    sources: what is watched; a video file is played again and again, as if it were a camera.
    state: what is remembered between two starts.
    window_s, hop_s, motion_gate: as for `Recognizer.watch`; without `window_s` windows follow the gallery.
    callbacks: sinks and the like.
    evidence: keeps strips and clips of events.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        sources: Sources,
        state: State,
        *,
        window_s: float | None = None,
        hop_s: float | None = None,
        motion_gate: float | None = None,
        callbacks: Sequence[Callbacks] = (),
        evidence: Evidence | None = None,
    ) -> None:
        self.recognizer = recognizer
        self.state = state
        self.evidence = evidence
        self._wanted = _named(sources)
        self.names = [str(options.name) for _, options in self._wanted]
        self._window_s, self._hop_s, self._motion_gate = window_s, hop_s, motion_gate
        self.film = Film(time.time)
        self.board = Board(self.names, self._decided)
        self.windows = Windows()
        self.new_clips = NewClips()
        self.shelf = Shelf(recognizer.gallery)
        self.jobs = Jobs()
        self.teaching = Teaching(recognizer, self._gallery_changed)
        regions = {name: one.roi for name, (_, one) in zip(self.names, sources, strict=True) if one.roi is not None}
        kept = {name: roi for name, roi in state.regions().items() if name in self.names}
        self._control = Control(self._grid(), {**regions, **kept})
        self._latest: dict[str, _Latest] = {}
        self._collected: dict[str, list[Floats]] | None = None
        extra = [] if evidence is None else [evidence]
        self._callbacks = CallbackList([self.film, self.board, self, *extra, *callbacks])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.begun_at = time.time()

    def __enter__(self) -> Studio:
        if self._wanted:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._control.stop()
        if self._wanted:
            self._thread.join(5.0)
        self.film.close()

    @property
    def window_s(self) -> float:
        """Length of a window."""
        return self._control.grid.window_s

    def region(self, source: str) -> Roi | None:
        """The part of a source's picture that is looked at. Raises `source-unknown`."""
        return self._control.region(self.require(source))

    def set_region(self, source: str, roi: Roi | None) -> None:
        """Look at this part of a source's picture from now on, also after the next start. Raises `source-unknown`."""
        self._control.set_region(self.require(source), roi)
        self.state.keep_region(source, roi)

    def require(self, source: str) -> str:
        """The name of a source. Raises `source-unknown`."""
        if source not in self.names:
            raise MaclipError("source-unknown", "There is no such source.", "Use one that the server was started with.")
        return source

    def record(self, source: str, seconds: float) -> NewClip:
        """Record a source from now on. Raises `source-unknown`, `source-lost`, `clip-too-short`."""
        begun = time.time()
        self.require(source)
        while True:
            pictures = self.film.since(source, begun)
            if pictures and pictures[-1].time_s - pictures[0].time_s >= seconds:
                break
            if time.time() - begun > seconds + RECORD_PATIENCE_SECONDS or self._stop.is_set():
                raise MaclipError("source-lost", f"{source} sends no picture.", "Check the camera, and record again.")
            time.sleep(0.05)
        pictures = [one for one in pictures if one.time_s <= pictures[0].time_s + seconds + 1e-6]
        name = f"{source}, {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(begun))}"
        clip = NewClip.of(name, pictures, seconds, self.region(source), self.recognizer.bundle.manifest)
        return self.new_clips.add(clip)

    def clip_of(self, seen: Seen) -> NewClip:
        """A window as a clip that can be enrolled. Raises `clip-too-short`."""
        name = f"{seen.source}, {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seen.at))}, window {seen.id}"
        manifest = self.recognizer.bundle.manifest
        return NewClip.of(name, seen.pictures, seen.end_s - seen.start_s, seen.region, manifest)

    def measure(self, features: Floats) -> list[Answer]:
        """What B clips or windows are by the gallery as it is now: features float32 [B, T, D']."""
        return self._pipeline(CallbackList()).measure(features)

    def rescore(self) -> None:
        """Answer the kept windows by the gallery as it is now."""
        self.windows.rescore(self.recognizer.gallery.version, self.recognizer.decisions, self.measure)

    def diagnose(self, progress: Progress) -> dict[str, Any]:
        """What `gallery doctor` says, and of which version of the gallery."""
        version = self.recognizer.gallery.version
        found = self.recognizer.diagnose(progress=lambda done, total: progress(done, total))
        return {**found.facts(), "version": list(version)}

    def calibrate(
        self, sources: Sequence[str], seconds: float, false_alarms: float | None, progress: Progress
    ) -> dict[str, Any]:
        """Set each class's limit on what the sources show for so long; without sources on negatives and other classes.

        Raises `gallery-empty`, `background-missing`.
        """
        background = self._background(sources, seconds, progress) if sources else None
        made: list[Calibration] = []

        def change() -> dict[str, Any]:
            index = self.recognizer.index.ready()
            made.append(
                calibrate(
                    self.recognizer.gallery, self.recognizer.encoder, index, background, false_alarms=false_alarms
                )
            )
            return {"classes": len(made[0].classes)}

        self.recognizer.index.ready()
        self.teaching.other("calibrate", change)
        return calibration_facts(made[0])

    def _background(self, sources: Sequence[str], seconds: float, progress: Progress) -> Background | None:
        grid, begun = self._control.grid, time.monotonic()
        self._collected = {self.require(name): [] for name in sources}
        try:
            while (passed := time.monotonic() - begun) < seconds and not self._stop.is_set():
                progress(passed, seconds)
                time.sleep(0.2)
            collected = self._collected
        finally:
            self._collected = None
        features = [one for some in collected.values() for one in some]
        if not features:
            raise MaclipError(
                "background-missing",
                "Nothing moved in the sources, so there was no background to measure on.",
                "Look for longer, or calibrate without a source.",
            )
        stretch = np.repeat(np.arange(len(collected)), [len(some) for some in collected.values()])
        reach = max(1, math.ceil(grid.window_s / grid.hop_s - 1e-6) - 1)
        return Background(
            np.stack(features), stretch.astype(np.int64), len(features) * grid.hop_s, ", ".join(collected), reach
        )

    def status(self, status: SourceStatus) -> None:
        """Follow the gallery: other programs may change it too."""
        self._follow_gallery()

    def event(self, event: Event) -> None:
        """Keep the window that shows an event best."""
        latest = self._latest.get(event.source)
        if latest is None or event.kind == "end":
            return
        known = self.windows.of_event(event.id)
        if known is not None and latest.verdict.match <= known.verdict.match + BETTER:
            return
        sure = event.label not in (UNKNOWN, UNCERTAIN)
        if sure and latest.verdict.nearest != event.label:
            return
        self.film.then(lambda: self._keep(event.source, latest, "event", event.id))

    def _decided(
        self, source: str, answer: Answer, features: Floats, verdict: Verdict, start_s: float, end_s: float
    ) -> None:
        latest = self._latest[source] = _Latest(features.copy(), verdict, start_s, end_s)
        if self._collected is not None and source in self._collected:
            self._collected[source].append(latest.features)
        kind = kind_of(verdict)
        if kind is not None:
            self.film.then(lambda: self._keep(source, latest, kind))

    def _keep(self, source: str, latest: _Latest, kind: str, event_id: str = "") -> None:
        pictures = self.film.between(source, latest.start_s - 1e-3, latest.end_s + 1e-3)
        if len(pictures) < min_pictures(self.recognizer.bundle.manifest) or (kind != "event" and is_still(pictures)):
            return

        def make(number: int, kept_as: str) -> Seen:
            return Seen(
                number,
                source,
                pictures[-1].at,
                latest.start_s,
                latest.end_s,
                latest.features,
                pictures,
                self._control.region(source),
                latest.verdict,
                kept_as,
            )

        seen = self.windows.add(make, source, kind, latest.start_s, latest.end_s)
        if seen is not None and event_id:
            self.windows.link(event_id, seen)

    def _gallery_changed(self) -> None:
        self._follow_gallery()

    def _follow_gallery(self) -> None:
        """Cut windows anew where the enrolled actions have another length now."""
        grid = self._grid()
        if self._window_s is None and abs(grid.window_s / self._control.grid.window_s - 1) > OTHER_WINDOW:
            self._control.grid = grid

    def _grid(self) -> Grid:
        window_s = self._window_s
        if window_s is None:
            try:
                index = self.recognizer.index.get()
            except MaclipError:  # it cannot be read just now
                return self._control.grid
            window_s = EMPTY_WINDOW_SECONDS if index is None else index.window_s
        return Grid.of(self.recognizer.bundle.manifest.frames, window_s, self._hop_s)

    def _pipeline(self, callbacks: CallbackList) -> Pipeline:
        return Pipeline(self.recognizer.encoder, self.recognizer.index, self.recognizer.decisions, callbacks)

    def _run(self) -> None:
        """The watching thread: a watch that ends is begun again."""
        while not self._stop.is_set():
            gates = [gate_of(self._motion_gate) for _ in self._wanted]
            pipeline = self._pipeline(self._callbacks)
            try:
                for _ in watch(
                    pipeline, self._wanted, gates, self._control.grid, self._callbacks, self.evidence, self._control
                ):
                    pass
            except MaclipError as error:
                if error.code == "recognizer-closed":
                    return
                log.warning("the watch ended and begins again: %s", error.message)
            except Exception:
                log.exception("the watch failed and begins again")
            self._stop.wait(AGAIN_SECONDS)


def _named(sources: Sources) -> list[tuple[str, SourceOptions]]:
    """Each source with a name of its own; cameras are waited for, and a file is played as a camera."""
    found: list[tuple[str, SourceOptions]] = []
    names: set[str] = set()
    for uri, options in sources:
        on_disk = scheme_of(uri) in {"", "file"} and not is_live(uri)
        first = options.name or (Path(local_path(uri)).stem if on_disk else redact(uri)) or "source"
        name, number = first, 1
        while name in names:
            number += 1
            name = f"{first} ({number})"
        names.add(name)
        address = uri if is_live(uri) else f"loop://{local_path(uri).absolute() if on_disk else uri}"
        found.append((address, replace(options, name=name, wait=True, roi=None)))
    return found


def calibration_facts(done: Calibration) -> dict[str, Any]:
    """A calibration for the page: limits, errors, and the samples that its curves are drawn of."""
    return {
        "measured_on": done.measured_on,
        "hours": done.hours,
        "alarms_an_hour": done.alarms_an_hour,
        "alarms_an_hour_interval": done.alarms_an_hour_interval,
        "classes": [
            {"name": one.name, "limit": one.limit, "own": one.own, "far": one.strangers[:500], **one.facts()}
            for one in done.classes
        ],
    }
