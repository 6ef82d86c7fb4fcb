"""The overlay: callbacks of a watch that write a video with what was recognised drawn on it.

`scene` keeps the current answers and events, `drawing` paints them on a frame, `writing` encodes, `recording` does both
in a thread.
"""

from maclip_runtime.overlay.recording import Overlay

__all__ = ["Overlay"]
