"""Where events go: `open_sink(uri)` gives a listener that delivers each event without slowing recognition.

A sink hands over to a thread of its own through a bounded outbox; what is dropped there is counted.
"""

from maclip_runtime.sinks.base import Sink
from maclip_runtime.sinks.opening import open_sink
from maclip_runtime.sinks.record import SCHEMA, event_record

__all__ = ["SCHEMA", "Sink", "event_record", "open_sink"]
