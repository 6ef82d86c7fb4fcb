"""JSON Lines in a file that is rotated."""

from __future__ import annotations

import logging

from maclip_runtime.sinks.base import Sink
from maclip_runtime.sinks.options import DEFAULTS, SinkOptions
from maclip_runtime.sinks.registry import sink
from maclip_runtime.sinks.rotating_file import RotatingFile
from maclip_runtime.sources import local_path

log = logging.getLogger("maclip")


@sink("file", "", forms=("a file's path", "file://"))
class FileSink(Sink):
    """JSON Lines in the file at a path, rotated as `SinkOptions` says. Raises `output-unwritable`."""

    def __init__(self, uri: str, options: SinkOptions = DEFAULTS) -> None:
        path = local_path(uri)
        self._file = RotatingFile(path, max_bytes=options.max_bytes, keep=options.keep)
        super().__init__(str(path))

    def deliver(self, line: bytes) -> None:
        """Append one line. Raises OSError."""
        self._file.append(line)

    def release(self, deadline: float) -> None:
        """Close the file, and log where the disk did not take everything."""
        try:
            self._file.close()
        except OSError as error:
            log.warning("%s: the last lines may not be on the disk (%s)", self.name, error.strerror)
