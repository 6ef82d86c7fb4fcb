"""A GStreamer pipeline in a process of its own; pictures go to stdout. Needs GStreamer's bindings and nothing else.

    python3 gst_child.py PIPELINE

It runs in the system's Python, whose GStreamer bindings a virtual environment does not see. Each message starts with a
byte that says what it is and the length of the rest, big-endian. It ends with its parent: when stdin closes.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import sys
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

HEADER = struct.Struct(">cI")
SIZE = struct.Struct(">IIq")  # width, height, time in ns, before the RGB rows of a picture
PICTURE, PLAYING, IDLE, END = b"P", b"S", b"I", b"E"
LOST, INVALID, MISSING = b"L", b"B", b"M"  # followed by why: the pipeline broke, it cannot be built, no GStreamer here
NO_TIME = -1
PULL_SECONDS = 0.2  # without a picture, before the parent is told that there is none
START_SECONDS = 60.0  # the parent is less patient
SINK = re.compile(r"(?:^|!)\s*appsink(?=\s|$)([^!]*)$")


def main() -> None:
    """Run the pipeline until it ends, breaks, or the parent goes."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what plugins print is no picture
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(BrokenPipeError):
        try:
            import gi  # type: ignore[import-not-found,unused-ignore]

            gi.require_version("Gst", "1.0")
            gi.require_version("GstApp", "1.0")
            from gi.repository import Gst, GstApp  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
        except (ImportError, ValueError) as error:
            return _say(out, MISSING, str(error))
        Gst.init(None)
        try:
            pipeline = Gst.parse_launch(launch(sys.argv[1]))
        except Exception as error:  # GLib's own error class, which is imported with gi
            return _say(out, INVALID, getattr(error, "message", str(error)))
        try:
            _run(Gst, pipeline, out)
        finally:
            pipeline.set_state(Gst.State.NULL)


def ends_in_appsink(pipeline: str) -> bool:
    """Whether the last element of a pipeline, as `gst-launch-1.0` takes it, is an appsink."""
    return SINK.search(pipeline) is not None


def launch(pipeline: str) -> str:
    """The pipeline with RGB pictures at its appsink, which keeps only the newest. Options that are given stay."""
    found = SINK.search(pipeline)
    assert found, "ends_in_appsink"
    before = pipeline[: found.start()].rstrip()
    convert = f"{before} ! videoconvert ! video/x-raw,format=RGB"
    return f"{convert} ! appsink drop=true max-buffers=1 {found[1].strip()}"


def _run(gst: Any, pipeline: Any, out: BinaryIO) -> None:
    sink = next(one for one in _elements(gst, pipeline) if one.get_factory().get_name() == "appsink")
    pipeline.set_state(gst.State.PLAYING)
    changed, *_ = pipeline.get_state(int(START_SECONDS * gst.SECOND))
    if changed == gst.StateChangeReturn.FAILURE:
        return _say(out, LOST, _problem(gst, pipeline) or "it did not start")
    live = changed == gst.StateChangeReturn.NO_PREROLL
    _say(out, PLAYING, "")
    while True:
        sample = sink.try_pull_sample(int(PULL_SECONDS * gst.SECOND))
        if sample is not None:
            _send(gst, sample, out)
        elif problem := _problem(gst, pipeline):
            return _say(out, LOST, problem)
        elif sink.is_eos():
            return _say(out, LOST, "it ended") if live else _say(out, END, "")
        else:
            _say(out, IDLE, "")


def _elements(gst: Any, pipeline: Any) -> Iterator[Any]:
    iterator = pipeline.iterate_recurse()
    while (step := iterator.next())[0] == gst.IteratorResult.OK:
        yield step[1]


def _problem(gst: Any, pipeline: Any) -> str:
    """The error on the pipeline's bus, "" for none."""
    message = pipeline.get_bus().pop_filtered(gst.MessageType.ERROR)
    return "" if message is None else str(message.parse_error()[0].message)


def _send(gst: Any, sample: Any, out: BinaryIO) -> None:
    """A picture without the bytes by which GStreamer pads each row to a multiple of 4."""
    structure = sample.get_caps().get_structure(0)
    width, height = structure.get_value("width"), structure.get_value("height")
    buffer = sample.get_buffer()
    there, mapped = buffer.map(gst.MapFlags.READ)
    if not there:
        return
    try:
        stamp = NO_TIME if buffer.pts == gst.CLOCK_TIME_NONE else buffer.pts
        row, stride = width * 3, (width * 3 + 3) // 4 * 4
        out.write(HEADER.pack(PICTURE, SIZE.size + row * height) + SIZE.pack(width, height, stamp))
        data = memoryview(mapped.data)
        if row == stride:
            _write(out, data[: row * height])
        else:
            _write(out, b"".join(data[at : at + row] for at in range(0, stride * height, stride)))
    finally:
        buffer.unmap(mapped)


def _say(out: BinaryIO, what: bytes, why: str) -> None:
    text = why.encode("utf-8", "replace")
    _write(out, HEADER.pack(what, len(text)) + text)


def _write(out: BinaryIO, data: bytes | memoryview) -> None:
    """All of it: a pipe takes a part at a time."""
    left = memoryview(data)
    while left:
        left = left[out.write(left) or 0 :]


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
