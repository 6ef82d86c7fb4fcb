"""Where frames come from: `open_source(uri)` gives upright RGB frames with times, in order, one at a time.

A source is a file, a folder of frames, a camera or a stream; it holds one frame at a time, never a clip. A camera or
stream is read by a thread of its own, gives its newest frame, and reconnects when it is lost.
Each file in `kinds/` registers a kind with `@source`; a program or an installed package can register its own
(docs/extending.md).
"""

from maclip_runtime.sources.address import absolute, local_path, redact, scheme_of, split_name
from maclip_runtime.sources.base import Frame, SequentialSource, Source, SourceState, SourceStatus, part_of
from maclip_runtime.sources.connection import Arrival, Connection, ConnectionLost
from maclip_runtime.sources.live import LiveSource
from maclip_runtime.sources.opening import Address, Names, check_names, is_live, is_recorded, open_source, options_of
from maclip_runtime.sources.options import Roi, SourceOptions
from maclip_runtime.sources.registry import source

__all__ = [
    "Address",
    "Arrival",
    "Connection",
    "ConnectionLost",
    "Frame",
    "LiveSource",
    "Names",
    "Roi",
    "SequentialSource",
    "Source",
    "SourceOptions",
    "SourceState",
    "SourceStatus",
    "absolute",
    "check_names",
    "is_live",
    "is_recorded",
    "local_path",
    "open_source",
    "options_of",
    "part_of",
    "redact",
    "scheme_of",
    "source",
    "split_name",
]
