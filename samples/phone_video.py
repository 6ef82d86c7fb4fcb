"""Learn an action from one long video of a phone: each part that shows the action becomes a clip.

    python phone_video.py BUNDLE GALLERY NAME VIDEO FROM-TO [FROM-TO ...]
    python phone_video.py bundle robot.db waving VID_2026.mp4 2.0-4.5 7.2-9.5 12.0-14.0

Times are seconds in the video, as a player shows them. Rotated videos are turned upright. Stand where the robot's
camera will stand, repeat the action three to five times, a little differently each time, and wait between two of them.
"""

from __future__ import annotations

import sys

import numpy as np

from maclip_runtime import Enrolled, MaclipError, Recognizer, open_source
from maclip_runtime.reading.frames import Pixels, resize_short


def parse(part: str) -> tuple[float, float]:
    """The beginning and the end, in seconds, of "2.0-4.5"."""
    begin, _, end = part.partition("-")
    if not float(begin) < float(end):
        raise ValueError(f"{part} does not end after its beginning")
    return float(begin), float(end)


def cut(video: str, parts: list[tuple[float, float]], side: int) -> list[Pixels]:
    """The frames of each part, uint8 [N, h, w, 3], with a short side of `side` px; the video is read once."""
    shown: list[list[Pixels]] = [[] for _ in parts]
    with open_source(video) as source:
        for frame in source:
            for (begin, end), frames in zip(parts, shown, strict=True):
                if begin <= frame.time_s < end:
                    frames.append(resize_short(frame.pixels, side))
    return [np.stack(frames) if frames else np.zeros((0, side, side, 3), np.uint8) for frames in shown]


def main(bundle: str, gallery: str, name: str, video: str, *parts: str) -> int:
    try:
        times = [parse(part) for part in parts]
    except ValueError as error:
        print(f"{error}; write FROM-TO in seconds, for instance 2.0-4.5", file=sys.stderr)
        return 2
    try:
        with Recognizer.open(bundle, gallery=gallery) as recognizer:
            preprocess = recognizer.bundle.manifest.preprocess
            clips = cut(video, times, preprocess.resize or preprocess.size)
            for part, (begin, end), frames in zip(parts, times, clips, strict=True):
                print(f"{part}: {learn(recognizer, name, frames, end - begin, f'{video} {part}')}")
            print(f"{name}: {next((one.clips for one in recognizer.classes() if one.name == name), 0)} clips")
    except MaclipError as error:
        print(f"{error.code}: {error.message} {error.fix}", file=sys.stderr)
        return error.exit_code
    return 0


def learn(recognizer: Recognizer, name: str, frames: Pixels, seconds: float, source: str) -> str:
    """Enroll one part; says why where it is refused (still, dark, blurred, too short, there already)."""
    try:
        done: Enrolled = recognizer.enroll_frames(name, frames, duration_s=seconds, source=source)
    except MaclipError as error:
        if error.code not in {"clip-rejected", "clip-too-short", "frames-invalid"}:
            raise
        return f"refused: {error.message}"
    return " ".join(["enrolled.", *done.notes])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
