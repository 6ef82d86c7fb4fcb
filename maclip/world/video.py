"""Encode frames as H.264 in memory; the only module of the drawn world that needs PyAV."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from maclip_runtime.errors import MaclipError

# One thread, so that the bytes do not depend on the machine's load.
ENCODER_OPTIONS = {"crf": "18", "preset": "veryfast", "threads": "1"}
KEY_FRAME_INTERVAL = 12  # frames; one second


def encode(frames: Iterable[npt.NDArray[np.uint8]], rate: int) -> bytes:
    """uint8 [H, W, 3] RGB frames (H and W even) as an mp4 file's bytes, `rate` frames a second."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options=ENCODER_OPTIONS)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = KEY_FRAME_INTERVAL
        for index, pixels in enumerate(frames):
            if index == 0:
                stream.height, stream.width = pixels.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically. Raises `output-unwritable`."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> MaclipError:
    """The error for a `path` that cannot be written."""
    reason = error.strerror or type(error).__name__
    return MaclipError(
        "output-unwritable", f"Cannot write {path}: {reason}.", "Choose a folder that you may write to, with room."
    )
