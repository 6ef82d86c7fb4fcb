"""Episodes that cannot be sampled are refused."""

from __future__ import annotations

import pytest

from maclip.data.episodes import EpisodeSampler
from maclip_runtime.errors import MaclipError


@pytest.mark.parametrize(
    ("way", "shot", "queries", "code"),
    [
        (0, 1, 1, "episode-invalid"),
        (2, 0, 1, "episode-invalid"),
        (2, 1, -1, "episode-invalid"),
        (4, 1, 1, "too-few-clips"),
        (3, 2, 2, "too-few-clips"),
    ],
)
def test_episodes_that_cannot_be_are_refused(way: int, shot: int, queries: int, code: str) -> None:
    with pytest.raises(MaclipError) as caught:
        EpisodeSampler([3, 3, 4], way, shot, queries, seed=0)
    assert caught.value.code == code
    assert len(EpisodeSampler([3, 3, 4], 3, 2, 1, seed=0)[0].classes) == 3
