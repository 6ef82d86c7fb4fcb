"""Which class opens which address of a sink. Kinds register themselves, as sources do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from maclip_runtime.sinks.base import Sink
from maclip_runtime.sinks.options import SinkOptions
from maclip_runtime.sources.registry import Registry, kind_of

OpenSink = TypeVar("OpenSink", bound=Callable[[str, SinkOptions], Sink])

SINKS: Registry[Callable[[str, SinkOptions], Sink]] = Registry("sink", "maclip_runtime.sinks.kinds", "maclip.sinks")


def sink(
    *schemes: str, matches: Callable[[str], bool] | None = None, forms: Sequence[str] | None = None
) -> Callable[[OpenSink], OpenSink]:
    """Register what opens a kind of sink: a `Sink` class or a function, called with the address and the options.

    schemes: the schemes that it serves, without "://"; case does not matter.
    matches: tells whether it serves an address; for addresses without a scheme of their own.
    forms: how its addresses are written, for error messages; default: each scheme with "://".
    """

    def register(opener: OpenSink) -> OpenSink:
        SINKS.add(kind_of(opener, schemes, matches, forms))
        return opener

    return register
