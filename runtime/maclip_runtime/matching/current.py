"""The gallery's index as it stands, made anew when the gallery has changed."""

from __future__ import annotations

import logging
import threading

from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery import Gallery
from maclip_runtime.matching.index import Index, build_index

STREAM_PATIENCE = 0.1  # seconds that a stream waits for another program that enrolls; it asks again soon

log = logging.getLogger("maclip")


class CurrentIndex:
    """Keeps the index of a gallery; a change by any program counts from the next question on. Safe from threads."""

    def __init__(self, gallery: Gallery, encoder: Encoder) -> None:
        self._gallery = gallery
        self._encoder = encoder
        self._index: Index | None = None
        self._lock = threading.Lock()
        self._failure = ""

    def get(self) -> Index | None:
        """The index, None where the gallery has no class. Raises `gallery-corrupt`, `contract-mismatch`."""
        with self._lock:
            if self._index is None or self._index.version != self._gallery.version:
                self._index = build_index(self._gallery, self._encoder)
            return self._index

    def ready(self) -> Index:
        """The index. Raises `gallery-empty`, and what `get` raises."""
        index = self.get()
        if index is None:
            raise MaclipError(
                "gallery-empty", f"The gallery {self._gallery.path} has no classes.", "Enroll a clip first."
            )
        return index

    def in_stream(self) -> Index | None:
        """The index, or the last one where the gallery cannot be read: a stream goes on, and the log says why once.

        So it is while another program writes for longer than `STREAM_PATIENCE`.
        """
        try:
            known = self._index
            if known and not self._gallery.changed_since(known.version, STREAM_PATIENCE):
                self._failure = ""
                return known
            index = self.get()
        except (MaclipError, OSError) as error:
            if str(error) != self._failure:
                self._failure = str(error)
                log.warning("the gallery as it was stays in use: %s", error)
            return self._index
        self._failure = ""
        return index
