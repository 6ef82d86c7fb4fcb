"""Use the exported bundle as a device does: enroll classes, classify clips, watch a long video, measure latency."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from maclip.data.dataset import open_folders
from maclip.segments import Segment
from maclip.world.synth import long_video
from maclip_cli.demo.folder import DemoFolder
from maclip_cli.demo.plan import FAMILY, Plan
from maclip_cli.demo.screen import Update
from maclip_runtime import Recognizer
from maclip_runtime.callbacks import Callbacks
from maclip_runtime.decisions import UNKNOWN, Event
from maclip_runtime.reading.clip import read_clip
from maclip_runtime.reading.frames import Pixels, prepare, segment_indices
from maclip_runtime.sources import Frame

MILLISECONDS = 1000.0


@dataclass(frozen=True)
class Answer:
    """The answer for a clip: its true class (None if not enrolled), and the label, a class or "unknown"."""

    truth: str | None
    label: str

    @property
    def right(self) -> bool:
        """Whether the label is the true class, or "unknown" for a class that is not enrolled."""
        return self.label == (self.truth or UNKNOWN)


@dataclass(frozen=True)
class Stretch:
    """An interval of the long video that was recognised as an action, or as "unknown"; in seconds."""

    label: str
    score: float
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Told:
    """An event of the long video, and when it was told, in seconds of the video."""

    event: Event
    time_s: float


@dataclass(frozen=True)
class Timeline:
    """The long video.

    enrolled: names of the enrolled actions.
    segments: what happens in it.
    stretches: what was recognised in the end.
    duration_s: of the video.
    watching_s: that recognition took.
    told: all events, in the order in which they were told.
    """

    enrolled: tuple[str, ...]
    segments: tuple[Segment, ...]
    stretches: tuple[Stretch, ...]
    duration_s: float
    watching_s: float
    told: tuple[Told, ...] = ()

    def truth_of(self, segment: Segment) -> str:
        """The correct label of a segment: its name, or "unknown" if that is not enrolled."""
        return segment.name if segment.name in self.enrolled else UNKNOWN

    def answer_for(self, segment: Segment) -> str:
        """The label recognised for `segment`: the action with the longest overlap, else "unknown"."""
        found = [(_overlap(segment, s), s.label) for s in self.stretches if s.label != UNKNOWN]
        longest = max(found, default=(0.0, UNKNOWN))
        return longest[1] if longest[0] > 0 else UNKNOWN

    def right(self) -> int:
        """Number of segments with the correct label."""
        return sum(self.answer_for(s) == self.truth_of(s) for s in self.segments)

    def false_alarms(self) -> list[Stretch]:
        """Recognised actions that do not overlap a true segment of that action."""
        return [
            stretch
            for stretch in self.stretches
            if stretch.label != UNKNOWN
            and not any(s.name == stretch.label and _overlap(s, stretch) > 0 for s in self.segments)
        ]


@dataclass(frozen=True)
class Latency:
    """Median and maximum of `repeats` measurements, milliseconds per clip."""

    what: str
    median_ms: float
    largest_ms: float
    repeats: int


@dataclass(frozen=True)
class DeviceOutcome:
    """The results on the device."""

    enrolled: tuple[str, ...]
    clips_each: int
    answers: tuple[Answer, ...]
    timeline: Timeline
    latencies: tuple[Latency, ...]


def use_bundle(plan: Plan, folder: DemoFolder, update: Update) -> DeviceOutcome:
    """Enroll, classify and watch with the bundle in `folder`, and write the gallery and the long video there."""
    chosen = plan.device
    test = open_folders(folder.motion_clips).split("test")
    clips = {one.name: one.clips for one in test}
    segments = tuple(long_video(folder.video, FAMILY, chosen.video, seed=chosen.video_seed))
    with Recognizer.open(folder.bundle, folder.gallery, device="cpu") as recognizer:
        for done, name in enumerate(chosen.enrolled, start=1):
            recognizer.enroll(name, clips[name][: chosen.clips])
            update("enrolling", done, len(chosen.enrolled))
        queries = [
            (one.name if one.name in chosen.enrolled else None, path)
            for one in test
            for path in (one.clips[chosen.clips :] if one.name in chosen.enrolled else one.clips)
        ]
        answers = []
        for truth, path in queries:
            answers.append(Answer(truth, recognizer.classify(path).label))
            update("recognising whole clips", len(answers), len(queries))
        timeline = _watch(recognizer, folder.video, chosen.enrolled, segments)
        update("measuring", 0, 1)
        latencies = _latencies(recognizer, clips[chosen.enrolled[0]][-1], chosen.latency_repeats)
    return DeviceOutcome(chosen.enrolled, chosen.clips, tuple(answers), timeline, latencies)


def _watch(recognizer: Recognizer, video: Path, enrolled: tuple[str, ...], segments: tuple[Segment, ...]) -> Timeline:
    begun = time.monotonic()
    log = _Log()
    for _ in recognizer.watch(video, callbacks=[log]):
        pass
    watching_s = time.monotonic() - begun
    ended = [one.event for one in log.told if one.event.kind == "end" and not one.event.withdrawn]
    stretches = tuple(Stretch(event.label, event.score, event.start_s, event.end_s) for event in ended)
    duration_s = read_clip(video, lambda total: np.zeros(1, np.int64)).duration_s
    return Timeline(enrolled, segments, stretches, duration_s, watching_s, tuple(log.told))


class _Log(Callbacks):
    """Notes each event with the time of the newest frame."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self._now_s = 0.0

    def frame(self, source: str, frame: Frame) -> None:
        self._now_s = frame.time_s

    def event(self, event: Event) -> None:
        self.told.append(Told(event, self._now_s))


def _latencies(recognizer: Recognizer, path: Path, repeats: int) -> tuple[Latency, ...]:
    """Latency of the parts of `Recognizer.classify`."""
    manifest, encoder = recognizer.bundle.manifest, recognizer.encoder
    index = recognizer.index.ready()

    def decode() -> Pixels:
        choose = partial(segment_indices, frames=manifest.frames)
        return read_clip(path, choose, lambda frame: prepare(frame, manifest.preprocess)).frames

    frames = decode()
    features = encoder.features(frames[None])
    return (
        _measure("read the video and prepare its frames", decode, repeats),
        _measure("encode the frames", lambda: encoder.features(frames[None]), repeats),
        _measure(
            f"match with {len(index.names)} classes",
            lambda: encoder.match(features, index.prototypes, index.text, index.has_text, prepared=True),
            repeats,
        ),
        _measure("everything", lambda: recognizer.classify(path), repeats),
    )


def _measure(what: str, work: Callable[[], object], repeats: int) -> Latency:
    work()  # warm-up
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append((time.perf_counter() - begun) * MILLISECONDS)
    return Latency(what, median(times), max(times), repeats)


def _overlap(segment: Segment, stretch: Stretch) -> float:
    """Overlap in seconds; 0 or less if there is none."""
    return min(segment.end_s, stretch.end_s) - max(segment.start_s, stretch.start_s)
