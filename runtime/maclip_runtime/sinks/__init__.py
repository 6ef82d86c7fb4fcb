"""Where events go: `open_sink(uri)` gives a callback that delivers each event without slowing recognition.

A sink hands events to a thread of its own through a bounded outbox; what is dropped there is counted.
Each file in `kinds/` registers a kind with `@sink`; a program or an installed package can register its own
(docs/extending.md).
"""

from maclip_runtime.sinks.base import Refused, RetryLater, Sink
from maclip_runtime.sinks.opening import open_sink
from maclip_runtime.sinks.options import SinkOptions
from maclip_runtime.sinks.record import SCHEMA, event_record
from maclip_runtime.sinks.registry import sink

__all__ = ["SCHEMA", "Refused", "RetryLater", "Sink", "SinkOptions", "event_record", "open_sink", "sink"]
