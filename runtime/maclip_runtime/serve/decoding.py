"""Decode an uploaded video in a process of its own, with limits on memory, time and files.

What strangers send goes through FFmpeg, which is large and written in C: where it crashes, hangs or takes all memory,
the child does, and the server says so.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

from maclip_runtime.errors import MaclipError

MAX_FRAMES = 96  # of a clip that are kept, evenly spaced
MAX_SECONDS = 60.0  # of computing
MAX_MEMORY = 4 << 30  # bytes of address space
MAX_OUTPUT = 64 << 20  # bytes that the child may say
MAX_DURATION_SECONDS = 3600.0
SIDE = 640  # px of the longer side
LENGTH = struct.Struct(">I")


def decode_upload(path: Path, name: str) -> tuple[list[bytes], float]:
    """Frames as JPEGs and the duration in seconds of a video file, of which nothing is trusted.

    Raises `clip-unreadable`, `clip-too-short`, `video-too-large`.
    """
    command = [sys.executable, "-m", "maclip_runtime.serve.decoding", str(path)]
    paths = os.pathsep.join(entry for entry in sys.path if entry)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=MAX_SECONDS,
            check=False,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        raise _unreadable(name, f"takes longer than {MAX_SECONDS:g} s to decode") from None
    if done.returncode == 0:
        return _frames(done.stdout)
    try:
        said = json.loads(done.stderr.splitlines()[-1])
        raise MaclipError(str(said["code"]), str(said["message"]).replace(str(path), name), str(said["fix"]))
    except (ValueError, LookupError, TypeError):
        raise _unreadable(name, "cannot be decoded") from None


def _frames(data: bytes) -> tuple[list[bytes], float]:
    (length,) = LENGTH.unpack_from(data)
    header = json.loads(data[LENGTH.size : LENGTH.size + length])
    at, frames = LENGTH.size + length, []
    for _ in range(header["count"]):
        (length,) = LENGTH.unpack_from(data, at)
        frames.append(data[at + LENGTH.size : at + LENGTH.size + length])
        at += LENGTH.size + length
    return frames, float(header["duration_s"])


def _unreadable(name: str, why: str) -> MaclipError:
    return MaclipError("clip-unreadable", f"{name} {why}.", "Give a shorter video, as MP4, WebM or MOV.")


def _limit() -> None:
    """Set the limits of this process."""
    import resource

    seconds = int(MAX_SECONDS)
    for what, limit in (
        (resource.RLIMIT_AS, MAX_MEMORY),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, MAX_OUTPUT),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(what, (limit, limit))


def _write(out: BinaryIO, path: Path) -> None:
    import numpy as np

    from maclip_runtime.evidence.shots import encode
    from maclip_runtime.reading.clip import read_clip
    from maclip_runtime.reading.frames import Indices, Pixels, segment_indices

    def small(frame: Pixels) -> Pixels:
        from PIL import Image

        picture = Image.fromarray(frame)
        picture.thumbnail((SIDE, SIDE))
        return np.asarray(picture)

    def chosen(total: int) -> Indices:
        return segment_indices(total, min(total, MAX_FRAMES))

    clip = read_clip(path, chosen, small)
    header = json.dumps({"count": len(clip.frames), "duration_s": min(clip.duration_s, MAX_DURATION_SECONDS)}).encode()
    out.write(LENGTH.pack(len(header)) + header)
    for frame in clip.frames:
        jpeg = encode(frame, SIDE)
        out.write(LENGTH.pack(len(jpeg)) + jpeg)


def main() -> None:
    """The child: a path in, frames on stdout, an error as JSON on stderr."""
    _limit()
    try:
        _write(sys.stdout.buffer, Path(sys.argv[1]))
    except MaclipError as error:
        sys.stderr.write(json.dumps({"code": error.code, "message": error.message, "fix": error.fix}) + "\n")
        sys.exit(1)
    except Exception as error:  # `MemoryError` at a limit
        sys.stderr.write(f"{type(error).__name__}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
