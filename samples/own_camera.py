"""A robot that owns its camera: it pushes its frames, and learns a new action while it runs.

    python own_camera.py BUNDLE GALLERY VIDEO

VIDEO stands for the robot's camera; replace `frames` with its driver. Each frame is pushed with the time at which it
was taken, on any clock. When something unknown has gone on for a while, the last seconds are enrolled under a new name,
which counts from the next window on.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator

import numpy as np

from maclip_runtime import Event, Frame, MaclipError, Recognizer, open_source

LEARNT_FROM_SECONDS = 2.0  # the newest frames, from which a new action is learnt
PATIENCE_SECONDS = 4.0  # that something unknown must go on


def frames(camera: str) -> Iterator[Frame]:
    """What the robot's own driver would give: RGB pictures, uint8 [H, W, 3], with times in seconds."""
    with open_source(camera) as source:
        yield from source


def tell(event: Event) -> None:
    """What the robot does: here it only says so."""
    if event.kind != "update":
        print(f"{event.end_s:7.2f} s: {event.kind} {event.label}", flush=True)


def main() -> int:
    bundle, gallery, camera = sys.argv[1:]
    recent: deque[Frame] = deque()
    unknown_since_s: float | None = None
    try:
        with Recognizer.open(bundle, gallery=gallery) as recognizer, recognizer.stream() as stream:
            for frame in frames(camera):
                recent.append(frame)
                while frame.time_s - recent[0].time_s > LEARNT_FROM_SECONDS:
                    recent.popleft()
                for event in stream.push(frame.pixels, frame.time_s):
                    tell(event)
                    if event.label == "unknown":
                        unknown_since_s = event.start_s if event.kind == "start" else None
                if unknown_since_s is not None and frame.time_s - unknown_since_s > PATIENCE_SECONDS:
                    shown = np.stack([one.pixels for one in recent])
                    name = f"new action {len(recognizer.classes()) + 1}"
                    recognizer.enroll_frames(name, shown, duration_s=LEARNT_FROM_SECONDS, no_text=True, force=True)
                    unknown_since_s = None
            for event in stream.end():
                tell(event)
    except MaclipError as error:
        print(f"{error.code}: {error.message} {error.fix}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
