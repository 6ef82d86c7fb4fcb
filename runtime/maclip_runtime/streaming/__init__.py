"""Streams: each sampled frame passes the stem once, windows share what they have in common, sources share one run.

`grid` says which frames count, `stream` keeps them and cuts windows, `motion` leaves still pictures out, `answering`
runs the network, `watcher` reads sources to their end, `pushed` takes the frames of a program.
"""

from maclip_runtime.streaming.answering import Answerer
from maclip_runtime.streaming.grid import Grid
from maclip_runtime.streaming.motion import MotionGate, gate_of
from maclip_runtime.streaming.pushed import Pushed
from maclip_runtime.streaming.stream import Slot, Step, Stream, Window
from maclip_runtime.streaming.watcher import Feed, Watcher

__all__ = ["Answerer", "Feed", "Grid", "MotionGate", "Pushed", "Slot", "Step", "Stream", "Watcher", "Window", "gate_of"]
