"""A drawn video to measure on: moving shapes, in the format that a camera sends."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maclip_runtime.reading.frames import Pixels

WIDTH, HEIGHT, RATE = 640, 480, 30  # px, px, frames a second: what most cameras send
SHAPES = 6
CODECS = ("libx264", "mpeg4")  # H.264 is what cameras send; not every FFmpeg can write it


def draw_video(path: Path, seconds: float, seed: int) -> Path:
    """Write `seconds` of moving squares on a gradient, 640 x 480 at 30 frames a second; each `seed` gives another."""
    import av

    codec = next(name for name in CODECS if name in av.codec.codecs_available)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options={"preset": "ultrafast"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 2_000_000
        rng = np.random.default_rng(seed)
        ground = _ground(rng)
        shapes = [(rng.uniform(0, 1, 2), rng.uniform(-0.4, 0.4, 2), rng.integers(0, 256, 3)) for _ in range(SHAPES)]
        for number in range(round(seconds * RATE)):
            picture = ground.copy()
            for start, speed, colour in shapes:
                # What leaves on one side comes in at the other.
                x, y = ((start + speed * number / RATE) % 1) * (WIDTH - 80, HEIGHT - 80)
                picture[int(y) : int(y) + 80, int(x) : int(x) + 80] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def _ground(rng: np.random.Generator) -> Pixels:
    """A gradient under grain, uint8 [H, W, 3]."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    rows = np.stack([down / HEIGHT, across / WIDTH, (down + across) / (HEIGHT + WIDTH)], axis=-1) * 200
    return (rows + rng.integers(0, 40, (HEIGHT, WIDTH, 1))).astype(np.uint8)
