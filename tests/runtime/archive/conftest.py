"""Long drawn videos, and an opened archive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from videos import color_video

from maclip_runtime import Archive

PARTS = {
    "a": [("blue", 4.0), ("red", 2.0), ("blue", 4.0), ("green", 2.0), ("blue", 3.0)],
    "b": [("green", 3.0), ("blue", 3.0), ("red", 3.0), ("blue", 5.0), ("red", 2.0)],
}


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.mp4 and b.mp4 of `PARTS`, and short.mp4 of half a second of red. Do not change them: copy them."""
    folder = tmp_path_factory.mktemp("recordings")
    for seed, (name, parts) in enumerate(PARTS.items()):
        color_video(folder / f"{name}.mp4", parts, seed=seed)
    color_video(folder / "short.mp4", [("red", 0.5)], seed=7)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def opened(bundle: Path) -> Iterator[Callable[[Path], Archive]]:
    """Opens archives with the tiny bundle, and closes them."""
    made: list[Archive] = []

    def open_one(store: Path) -> Archive:
        made.append(Archive.open(store, bundle, device="cpu", threads=1))
        return made[-1]

    yield open_one
    for one in made:
        one.close()
