"""Streams: each sampled frame passes the stem once, windows share their frames, sources share each run of a graph.

`windows` samples frames and cuts windows, `motion` skips still pictures, `pipeline` turns windows into events,
`stream` takes frames that a program hands in, `watch` reads sources to their end (opened by `opening`), `background`
gives windows to calibration.
"""

from maclip_runtime.streaming.background import Seen, see_background, watch_features
from maclip_runtime.streaming.motion import MotionGate, gate_of
from maclip_runtime.streaming.pipeline import Pipeline
from maclip_runtime.streaming.stream import Stream
from maclip_runtime.streaming.watch import watch
from maclip_runtime.streaming.windows import Cutter, Grid, Slot, Step, Window, window_of

__all__ = [
    "Cutter",
    "Grid",
    "MotionGate",
    "Pipeline",
    "Seen",
    "Slot",
    "Step",
    "Stream",
    "Window",
    "gate_of",
    "see_background",
    "watch",
    "watch_features",
    "window_of",
]
