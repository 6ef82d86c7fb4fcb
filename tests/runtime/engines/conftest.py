"""Fixtures of engines that run on a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_bundle import write_bundle

from maclip_runtime import Bundle
from maclip_runtime.engines.encoder import Encoder


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with stem and tower, whose models lie beside it in `models`."""
    from maclip_export.targets.triton import write_repository

    folder = tmp_path_factory.mktemp("remote")
    write_repository(write_bundle(folder / "bundle", split=True), folder / "models")
    return folder / "bundle"


@pytest.fixture
def opened() -> Iterator[Callable[..., Encoder]]:
    """Opens encoders and closes them after the test."""
    made: list[Encoder] = []

    def open_one(bundle: Path, device: str, *, absent: bool = False) -> Encoder:
        made.append(Encoder(Bundle.open(bundle), device, absent, 1))
        return made[-1]

    yield open_one
    for one in made:
        one.close()


@pytest.fixture
def quick_remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """An absent server is tried again at once."""
    from maclip_runtime.engines.remote import engine as remote

    monkeypatch.setattr(remote, "FIRST_PROBE_SECONDS", 0.02)
    monkeypatch.setattr(remote, "MAX_PROBE_SECONDS", 0.05)
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0.01)
