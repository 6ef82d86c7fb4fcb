"""What tests of remote engines share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tiny_bundle import FRAMES, SIZE

from maclip_runtime import MaclipError


def refused(code: str, do: Callable[[], object]) -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        do()
    assert caught.value.code == code, caught.value
    return caught.value


def windows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
