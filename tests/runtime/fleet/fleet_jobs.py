"""Jobs whose workers must be able to import them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maclip_runtime.errors import MaclipError

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Counting:
    """Five parts a share: (share, number). Leaves a line in `log` for each part that is computed.

    dies_before: a (share, number) before which the worker is killed, once there is a file beside `log` that says that
        the parts before it have arrived.
    refuses, poisoned: whether each share raises, or kills its worker.
    """

    log: Path
    dies_before: tuple[int, int] | None = None
    refuses: bool = False
    poisoned: bool = False

    def parts(self, share: int, skip: int) -> Iterator[tuple[int, int]]:
        if self.poisoned:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.refuses:
            raise MaclipError("clip-unreadable", "This share is refused.", "Leave it out.")
        for number in range(skip, 5):
            if (share, number) == self.dies_before:
                self._die_once()
            with self.log.open("a") as file:
                file.write(f"{share} {number} {os.getpid()}\n")
            yield share, number

    def _die_once(self) -> None:
        died = self.log.with_suffix(".died")
        if died.exists():
            return
        until = time.monotonic() + PATIENCE_S
        while not self.log.with_suffix(".arrived").exists() and time.monotonic() < until:
            time.sleep(0.01)
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
