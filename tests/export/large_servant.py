"""A servant for a worker's tests, in a module of its own: a process that imports it starts at once."""

from __future__ import annotations

import os

import numpy as np

from maclip_export.bench.worker import peak_resident_mib, resident_mib
from maclip_runtime.errors import MaclipError

LARGE_BYTES = 200 * 2**20


class Large:
    """Takes much memory and gives it back; then dies or complains, as asked."""

    def __init__(self) -> None:
        before = resident_mib()
        np.ones(LARGE_BYTES, np.uint8).sum()
        peak, after = peak_resident_mib(), resident_mib()
        assert before is not None
        assert peak is not None
        assert after is not None
        self.facts = peak - before, after - before

    def turn(self, work: str) -> str:
        if work == "die":
            os._exit(7)
        if work == "complain":
            raise MaclipError("name", "A sentence.", "A fix.")
        if work == "stumble":
            raise ValueError("too bad\nfor words")
        return work
