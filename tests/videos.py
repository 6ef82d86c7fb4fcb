"""Small drawn videos, sounds and broken files for tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

COLOURS = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}
WIDTH, HEIGHT = 64, 48  # px


def color_frames(color: str, count: int, seed: int = 0) -> np.ndarray:
    """uint8 [count, H, W, 3] of one colour under noise that a seed makes its own."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(-20, 20, size=(count, HEIGHT // 8, WIDTH // 8, 3)).repeat(8, 1).repeat(8, 2)
    return np.clip(np.array(COLOURS[color]) + noise, 0, 255).astype(np.uint8)


def color_video(path: Path, parts: Iterable[tuple[str, float]], rate: int = 10, seed: int = 0) -> Path:
    """A video of coloured parts, (colour, seconds) each."""
    frames = [color_frames(color, round(seconds * rate), seed) for color, seconds in parts]
    return write_video(path, np.concatenate(frames), rate)


def write_video(path: Path, frames: np.ndarray, rate: int = 10) -> Path:
    """uint8 [N, H, W, 3] as MPEG-4 video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """Half a second of silence, and no pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn_quarter(path: Path) -> Path:
    """Mark an MP4 as a phone held upright does: to be shown turned by a quarter, clockwise."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # version 0: the matrix is 40 bytes into the box
    fixed = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    data[matrix : matrix + 36] = np.array(fixed, ">i4").tobytes()
    path.write_bytes(data)
    return path
