"""What a report shows of a watch: answers over time, events with their strips, and how long each stage took."""

from __future__ import annotations

import io
import logging
import math
import os
from collections import deque
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from types import TracebackType

import numpy as np

from maclip_runtime import values
from maclip_runtime.callbacks import Callbacks
from maclip_runtime.decisions import Event, Verdict
from maclip_runtime.errors import MaclipError
from maclip_runtime.evidence.options import EvidenceOptions
from maclip_runtime.evidence.shots import Reel, Shot, decode
from maclip_runtime.reading.quality import STRIP_FRAMES, strip
from maclip_runtime.sources import Frame
from maclip_runtime.telemetry.latency import AnswerTimes

log = logging.getLogger("maclip")

STILLS = EvidenceOptions(pre_s=0.0, post_s=0.0, max_s=20.0, rate=4.0, side=240)
STRIP_HEIGHT = 96  # px
STRIP_QUALITY = 80
MAX_EVENTS = 500  # the last ones, with their strips
MAX_ANSWERS = 4000  # of a source; beyond that every second one is dropped
MAX_TIMES = 20_000  # of a stage


@dataclass
class SourceRecord:
    """One source: its answers as (middle, label, nearest, match), and its events by their ids with their strips."""

    answers: list[tuple[float, str, str, float]] = field(default_factory=list)
    events: dict[str, Event] = field(default_factory=dict)
    strips: dict[str, bytes] = field(default_factory=dict)
    end_s: float = 0.0
    stride: int = 1
    seen: int = 0


class Report(Callbacks):
    """Collects a watch and writes one HTML file when it is closed. A context manager.

    path: the file, which must not be a folder. Memory is bounded: of a long watch the last events and every n-th answer
        are kept.

    Raises `output-unwritable`, also when closing.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(values.path(path, "report"))
        if self.path.is_dir() or not os.access(self.path.absolute().parent, os.W_OK):
            raise _unwritable(self.path, "its folder is not there, or may not be written to")
        self.sources: dict[str, SourceRecord] = {}
        self.stages: dict[str, deque[float]] = {}
        self.latencies: deque[float] = deque(maxlen=MAX_TIMES)
        self._times = AnswerTimes()
        self._reels: dict[str, Reel] = {}
        self._due_s: dict[str, float] = {}
        self._closed = False

    def __enter__(self) -> Report:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def frame(self, source: str, frame: Frame) -> None:
        """Keep a few small frames a second, for the strips."""
        self._times.taken(source)
        record = self._record(source)
        record.end_s = max(record.end_s, frame.time_s)
        if frame.time_s < self._due_s.get(source, -math.inf) and not frame.restarted:
            return
        self._due_s[source] = frame.time_s + 1 / STILLS.rate - 1e-6
        self._keep(source, list(self._reel(source).frame(frame.pixels, frame.time_s, frame.restarted)))

    def verdict(self, source: str, verdict: Verdict, start_s: float, end_s: float) -> None:
        """Keep an answer."""
        seconds = self._times.answered(source)
        if seconds is not None:
            self.latencies.append(seconds)
        record = self._record(source)
        record.seen += 1
        if record.seen % record.stride:
            return
        record.answers.append(((start_s + end_s) / 2, verdict.label, verdict.nearest, verdict.match))
        if len(record.answers) > MAX_ANSWERS:
            record.answers = record.answers[::2]
            record.stride *= 2

    def event(self, event: Event) -> None:
        """Keep an event, and its strip once it is complete."""
        record = self._record(event.source)
        record.events[event.id] = event
        if event.kind != "update":
            self._keep(event.source, list(self._reel(event.source).event(event)))
        while len(record.events) > MAX_EVENTS:
            gone = next(iter(record.events))
            del record.events[gone]
            record.strips.pop(gone, None)

    def timing(self, stage: str, seconds: float) -> None:
        """Keep how long a stage took."""
        self.stages.setdefault(stage, deque(maxlen=MAX_TIMES)).append(seconds)

    def close(self) -> None:
        """Write the file. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        from maclip_runtime.report.page import page_of

        for source, reel in self._reels.items():
            self._keep(source, reel.finish())
        part = self.path.with_name(f"{self.path.name}.part")
        try:
            part.write_text(page_of(self), encoding="utf-8", errors="replace")
            os.replace(part, self.path)
        except OSError as error:
            raise _unwritable(self.path, str(error.strerror)) from error
        log.info("report: %s", self.path)

    def _record(self, source: str) -> SourceRecord:
        return self.sources.setdefault(source, SourceRecord())

    def _reel(self, source: str) -> Reel:
        return self._reels.setdefault(source, Reel(STILLS))

    def _keep(self, source: str, shots: list[Shot]) -> None:
        for shot in shots:
            if shot.stills and shot.id in self._record(source).events:
                self._record(source).strips[shot.id] = strip_of(shot)


def strip_of(shot: Shot) -> bytes:
    """Up to eight frames of a shot side by side, as a JPEG."""
    from PIL import Image

    places = np.linspace(0, len(shot.stills) - 1, min(len(shot.stills), STRIP_FRAMES)).round().astype(int)
    first = decode(shot.stills[places[0]].jpeg)
    frames = np.stack([decode(shot.stills[at].jpeg, (first.shape[1], first.shape[0])) for at in places])
    buffer = io.BytesIO()
    Image.fromarray(strip(frames, STRIP_HEIGHT)).save(buffer, "JPEG", quality=STRIP_QUALITY)
    return buffer.getvalue()


def _unwritable(path: Path, why: str) -> MaclipError:
    return MaclipError(
        "output-unwritable", f"The report {path} cannot be written ({why}).", "Give a file in a folder that exists."
    )
