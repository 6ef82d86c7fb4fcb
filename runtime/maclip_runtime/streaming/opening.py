"""Opening the sources of a watch at the same time."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import Address, Frame, Source, SourceOptions, SourceState, SourceStatus, open_source, redact


def open_sources(wanted: Sequence[tuple[Address, SourceOptions]], *, alone: bool = False) -> list[Source]:
    """Open several sources at the same time, each in a thread of its own; in the order of `wanted`.

    A source that cannot be opened becomes one whose first read fails, so the others go on. One that is `alone` is
    opened by the caller's thread and raises what `open_source` raises. An interrupt closes what has been opened.
    """
    if alone:
        return [open_source(*wanted[0])]
    return _Opening(wanted).run()


class FailedSource(Source):
    """Stands for a source that could not be opened: reading it raises the error."""

    def __init__(self, name: str, error: MaclipError) -> None:
        super().__init__(name)
        self._error = error

    def read(self, timeout_s: float | None = None) -> Frame | None:
        """Raises the error."""
        raise self._error

    @property
    def status(self) -> SourceStatus:
        """Ended, with the error as its problem."""
        return SourceStatus(self.name, SourceState.ENDED, 0.0, 0, 0, 0, 0.0, self._error.message)

    def close(self) -> None:
        """Nothing is open."""


class _Opening:
    """Threads that open one source each. What is opened after the caller gave up is closed at once."""

    def __init__(self, wanted: Sequence[tuple[Address, SourceOptions]]) -> None:
        self._wanted = wanted
        self._opened: dict[int, Source] = {}
        self._faults: list[Exception] = []
        self._given_up = False
        self._lock = threading.Lock()

    def run(self) -> list[Source]:
        # Daemons: a camera that does not answer must not keep an interrupted program alive.
        threads = [threading.Thread(target=self._open, args=(n,), daemon=True) for n in range(len(self._wanted))]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if self._faults:
                raise self._faults[0]
        except BaseException:
            with self._lock:
                self._given_up = True
            for source in self._opened.values():
                source.close()
            raise
        return [self._opened[number] for number in range(len(self._wanted))]

    def _open(self, number: int) -> None:
        uri, options = self._wanted[number]
        try:
            source = open_source(uri, options)
        except MaclipError as error:
            source = FailedSource(options.name or redact(uri), error)
        except Exception as error:  # a bug: the caller raises it
            self._faults.append(error)
            return
        with self._lock:
            if not self._given_up:
                self._opened[number] = source
                return
        source.close()
