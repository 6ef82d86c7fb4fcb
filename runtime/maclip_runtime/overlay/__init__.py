"""A video with what was recognised drawn on it: `Overlay("out.mp4")` is a listener that writes one.

`scene` keeps what is known, `drawing` paints it on a frame, `writing` encodes, `recording` does both in a thread.
"""

from maclip_runtime.overlay.drawing import Painter
from maclip_runtime.overlay.recording import Overlay
from maclip_runtime.overlay.scene import Scene, Span, Story
from maclip_runtime.overlay.writing import VideoWriter

__all__ = ["Overlay", "Painter", "Scene", "Span", "Story", "VideoWriter"]
