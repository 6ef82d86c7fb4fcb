"""What the node does, without ROS: messages in, events out, and learning from the last seconds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from maclip_runtime import Enrolled, Event, MaclipError, Recognizer, Stream
from maclip_runtime.reading.frames import Pixels, resize_short
from maclip_runtime.reading.ros_images import picture_of

NS = 1_000_000_000
MAX_KEPT_RATE = 15.0  # pictures per second that are kept for an enrolment: no action needs more
NEW_CLOCK_SECONDS = 1.0  # a stamp this far back belongs to a recording that began again


@dataclass(frozen=True)
class Kept:
    """A picture of the past, small, and when it was taken."""

    pixels: Pixels
    time_s: float


class Actions:
    """Recognises actions in messages of one camera, and learns new ones from what it has just seen."""

    def __init__(
        self, bundle: str, gallery: str, *, device: str = "auto", window_s: float | None = None, keep_s: float = 10.0
    ) -> None:
        """Load the model. Raises `MaclipError`.

        window_s: seconds of a window; None: from the enrolled clips.
        keep_s: seconds of the past that are kept for enrolments.
        """
        self._recognizer = Recognizer.open(bundle, gallery=gallery, device=device)
        preprocess = self._recognizer.bundle.manifest.preprocess
        self._side = preprocess.resize or preprocess.size
        self._window_s = window_s
        self._keep_s = keep_s
        self._kept: deque[Kept] = deque()
        self._stream: Stream | None = None
        self._start_ns: int | None = None  # the stamp that the stream counts from

    def add(self, message: Any) -> list[Event]:
        """Take in an `Image` or a `CompressedImage`, and get the events that it causes. Raises `MaclipError`."""
        stamp_ns = ns_of(message.header.stamp)
        if self._start_ns is None:
            self._start_ns = stamp_ns
        time_s = (stamp_ns - self._start_ns) / NS
        picture = picture_of(message, "the camera")
        pixels = picture() if callable(picture) else picture
        self._keep(pixels, time_s)
        if self._stream is None and self._recognizer.classes():
            self._stream = self._recognizer.stream(name="camera", window_s=self._window_s)
        if self._stream is None:  # nothing is enrolled yet
            return []
        try:
            return self._stream.push(pixels, time_s)
        except MaclipError as error:
            if error.code != "gallery-empty":
                raise
            self._stream = None  # the last action was removed
            return []

    def stamp(self, time_s: float) -> tuple[int, int]:
        """A time of an event as seconds and nanoseconds on the clock of the images."""
        ns = (self._start_ns or 0) + round(time_s * NS)
        return ns // NS, ns % NS

    def enroll(self, name: str, seconds: float, *, without_text: bool = False, force: bool = False) -> Enrolled:
        """Learn an action from the last `seconds`. Raises `clip-too-short`, and what `enroll_frames` raises."""
        newest_s = self._kept[-1].time_s if self._kept else 0.0
        shown = [one for one in self._kept if one.time_s > newest_s - seconds]
        frames = self._recognizer.bundle.manifest.frames
        if len(shown) < frames:
            raise MaclipError(
                "clip-too-short",
                f"Only {len(shown)} pictures of the last {seconds:g} s were seen; at least {frames} are needed.",
                "Check that images arrive (ros2 topic hz), and that the node is active.",
            )
        length_s = shown[-1].time_s - shown[0].time_s
        return self._recognizer.enroll_frames(
            name,
            np.stack([one.pixels for one in shown]),
            duration_s=max(length_s, 1e-3),
            no_text=without_text,
            force=force,
            source="camera",
        )

    def remove(self, name: str) -> int:
        """Forget an action; gives how many clips it had. Raises `class-unknown`."""
        return self._recognizer.remove(name)

    def known(self) -> dict[str, int]:
        """The enrolled actions, and how many clips each has."""
        return {one.name: one.clips for one in self._recognizer.classes()}

    def pause(self) -> list[Event]:
        """End the stream; gives the events that end what was open. The next message begins another one."""
        stream, self._stream = self._stream, None
        self._kept.clear()
        return stream.end() if stream is not None else []

    def close(self) -> None:
        """Free the model."""
        self._stream = None
        self._recognizer.close()

    def _keep(self, pixels: Pixels, time_s: float) -> None:
        """Keep the picture, small, for an enrolment, unless another one was kept a moment before."""
        newest = self._kept[-1] if self._kept else None
        if newest is not None and -NEW_CLOCK_SECONDS <= time_s - newest.time_s < 0.9 / MAX_KEPT_RATE:
            return
        small = resize_short(pixels, self._side)
        if newest is not None and (time_s < newest.time_s or small.shape != newest.pixels.shape):
            self._kept.clear()  # a recording began again, or the camera changed its resolution
        self._kept.append(Kept(small, time_s))
        while self._kept[-1].time_s - self._kept[0].time_s > self._keep_s:
            self._kept.popleft()


def ns_of(stamp: Any) -> int:
    """A `builtin_interfaces/Time` in nanoseconds."""
    return int(stamp.sec) * NS + int(stamp.nanosec)
