"""Streams: each sampled frame passes the stem once, windows share what they have in common, sources share one run.

`grid` says which frames count, `cutter` keeps them and cuts windows, `motion` leaves still pictures out, `network`
runs the graphs, `answering` compares with the gallery, `watcher` reads sources to their end, `pushed` takes a
program's frames.
"""

from maclip_runtime.streaming.answering import Answerer
from maclip_runtime.streaming.cutter import Cutter, Slot, Step, Window
from maclip_runtime.streaming.grid import Grid
from maclip_runtime.streaming.motion import MotionGate, gate_of
from maclip_runtime.streaming.network import Network, Seen, watch_features
from maclip_runtime.streaming.pushed import Pushed
from maclip_runtime.streaming.stream import Stream
from maclip_runtime.streaming.watch import Feed, Watcher

__all__ = [
    "Answerer",
    "Cutter",
    "Feed",
    "Grid",
    "MotionGate",
    "Network",
    "Pushed",
    "Seen",
    "Slot",
    "Step",
    "Stream",
    "Watcher",
    "Window",
    "gate_of",
    "watch_features",
]
