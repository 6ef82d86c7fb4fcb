"""The overlay: callbacks of a watch that write a video with what was recognised drawn on it.

`scene` keeps the current answers and events, `drawing` paints them on a frame, `writing` encodes, `recording` does both
in a thread.
"""

from maclip_runtime.overlay.drawing import Painter
from maclip_runtime.overlay.recording import Overlay
from maclip_runtime.overlay.scene import Scene, Span, Story
from maclip_runtime.overlay.writing import VideoWriter

__all__ = ["Overlay", "Painter", "Scene", "Span", "Story", "VideoWriter"]
