"""A robot that reacts to actions it was shown: copy this and put your own reaction in.

    python robot_loop.py BUNDLE GALLERY SOURCE

BUNDLE is the folder that `maclip export` wrote, GALLERY the file that `maclip-run enroll` made, SOURCE a video
file, a camera number or an address such as rtsp://camera/stream. New classes enrolled while this runs count
from the next window on.
"""

from __future__ import annotations

import sys

from maclip_runtime import Event, MaclipError, Recognizer

SURE = 0.6  # probability from which the robot acts


def react(event: Event) -> None:
    """What the robot does: here it only says so."""
    if event.label == "unknown":
        return
    if event.kind == "start" and event.score >= SURE:
        print(f"{event.start_s:7.2f} s: {event.label} begins ({event.score:.2f})", flush=True)
    elif event.withdrawn and event.kind == "end":
        print(f"{event.end_s:7.2f} s: {event.label} was a false start", flush=True)
    elif event.kind == "end":
        print(f"{event.end_s:7.2f} s: {event.label} is over", flush=True)


def main() -> int:
    bundle, gallery, source = sys.argv[1:]
    try:
        with Recognizer.open(bundle, gallery=gallery, device="auto") as recognizer:
            for event in recognizer.watch(source):
                react(event)
    except MaclipError as error:
        print(f"{error.code}: {error.message} {error.fix}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
