"""Opening a sink by its address."""

from __future__ import annotations

from os import PathLike

from maclip_runtime import values
from maclip_runtime.sinks.base import Sink
from maclip_runtime.sinks.options import DEFAULTS, SinkOptions
from maclip_runtime.sinks.registry import SINKS


def open_sink(uri: str | PathLike[str], options: SinkOptions | None = None) -> Sink:
    """Open a place for events: stdout, a file, an MQTT broker or a webhook, which need not answer yet.

    uri: `-` (stdout), a file's path, `mqtt[s]://[user:password@]host[:port]/topic`, `http[s]://…`, or what another
        program registered with `@sink`.
    options: rotation of files; default: `SinkOptions()`.

    Raises `sink-unknown`, `sink-invalid`, `sink-missing`, `output-unwritable`.

    >>> with open_sink("-") as sink:  # doctest: +SKIP
    ...     recognizer.watch("rtsp://camera/stream", callbacks=[sink])
    """
    uri = values.path(uri, "uri")
    options = DEFAULTS if options is None else values.instance(options, SinkOptions, "options")
    return SINKS.find(uri).open(uri, options)
