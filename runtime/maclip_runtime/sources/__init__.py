"""Where frames come from: `open_source(uri)` gives upright RGB frames with times, in order, one at a time.

A source is a file, a folder of frames, a camera or an address; it holds one frame at a time, never a clip. A camera
or address is read by a thread of its own, gives its newest frame, and is connected again when it is lost.
"""

from maclip_runtime.sources.address import is_live, local_path, redact, scheme_of
from maclip_runtime.sources.base import Frame, Source, SourceState, SourceStatus
from maclip_runtime.sources.opening import open_source
from maclip_runtime.sources.options import Roi, SourceOptions

__all__ = [
    "Frame",
    "Roi",
    "Source",
    "SourceOptions",
    "SourceState",
    "SourceStatus",
    "is_live",
    "local_path",
    "open_source",
    "redact",
    "scheme_of",
]
