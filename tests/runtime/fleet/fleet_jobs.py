"""Jobs whose workers must be able to import them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maclip_runtime.errors import MaclipError


@dataclass(frozen=True)
class Counting:
    """Five parts a share: (share, number). Leaves a line in `log` for each part that is computed.

    dies_after: a (share, number) after which the worker is killed, the first time.
    refuses, poisoned: whether each share raises, or kills its worker.
    """

    log: Path
    dies_after: tuple[int, int] | None = None
    refuses: bool = False
    poisoned: bool = False

    def parts(self, share: int, skip: int) -> Iterator[tuple[int, int]]:
        if self.poisoned:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.refuses:
            raise MaclipError("clip-unreadable", "This share is refused.", "Leave it out.")
        for number in range(skip, 5):
            with self.log.open("a") as file:
                file.write(f"{share} {number} {os.getpid()}\n")
            yield share, number
            if (share, number) == self.dies_after and not (died := self.log.with_suffix(".died")).exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
