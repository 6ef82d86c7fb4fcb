"""Windows that wait for a look: how many are kept, and how much memory their pictures may take."""

from __future__ import annotations

import numpy as np
import pytest

from maclip_runtime.decisions import Verdict
from maclip_runtime.serve import windows
from maclip_runtime.serve.film import Picture
from maclip_runtime.serve.windows import Seen, Windows

VERDICT = Verdict("unknown", "waving", 0.1, 9.0, 0.1, "distance")


def seen(number: int, kind: str, size: int) -> Seen:
    pictures = [Picture(0.1 * place, b"x" * size) for place in range(4)]
    return Seen(
        number, "door", 0.0, float(number), number + 1.0, np.zeros((8, 4), np.float32), pictures, None, VERDICT, kind
    )


@pytest.mark.parametrize("kind", ["unknown", "event"])
def test_the_oldest_go_where_pictures_take_too_much(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(windows, "MAX_BYTES", 1000)
    kept = Windows()

    def add(number: int, size: int) -> None:
        kept.add(lambda given, why: seen(given, why, size), "door", kind, float(number), number + 0.5)

    for number in range(5):
        add(number, 100)  # 400 bytes a window
    assert [number for number in range(1, 6) if kept.find(number)] == [4, 5]
    add(6, 1000)  # the newest stays, however large
    assert [number for number in range(1, 7) if kept.find(number)] == [6]


def test_their_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MAX_WINDOWS", 3)
    kept = Windows()
    for number in range(10):
        kept.add(lambda given, why: seen(given, why, 1), "door", "unknown", float(number), number + 0.5)
    assert [one.id for one in kept.hard()] == [10, 9, 8]
