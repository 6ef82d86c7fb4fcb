"""Fixtures of shared galleries: keys, a web server, and galleries that are closed after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from web_store import WebServer

if TYPE_CHECKING:
    from maclip_runtime.gallery.sharing.journal import SharedGallery


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the keys `own` and `other`, and their public ones."""
    from maclip_runtime.gallery.sharing import make_key

    folder = tmp_path_factory.mktemp("keys")
    for name in ("own", "other"):
        make_key(folder / name)
    return folder


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A web server that takes files."""
    with WebServer() as running:
        yield running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher whose state is out of date tries again at once."""
    from maclip_runtime.gallery.sharing import publishing

    monkeypatch.setattr(publishing, "MAX_PAUSE_SECONDS", 0.01)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., SharedGallery]]:
    """Opens galleries in the test's folder by name, and closes them after the test."""
    from sharing_kit import enroll

    from maclip_runtime.gallery.sharing.journal import SharedGallery

    galleries: list[SharedGallery] = []

    def make(name: str, *clips: tuple[str, int], contract: str = "tiny") -> SharedGallery:
        galleries.append(SharedGallery(tmp_path / f"{name}.db", contract=contract))
        if clips:
            enroll(galleries[-1], *clips)
        return galleries[-1]

    yield make
    for one in galleries:
        one.close()
