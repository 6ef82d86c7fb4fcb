"""Caches that processes share: one memory for all, with a bound, and nothing left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_data import write_classes

from maclip.data import shared_memory
from maclip.data.clip_store import ClipStore
from maclip.data.dataset import open_folders
from maclip.data.shared_memory import available_bytes, require_memory, shared_room
from maclip.evaluation.features import store_for
from maclip_runtime.errors import MaclipError

OTHER = """
import sys, torch
from pathlib import Path
from maclip.data.shared_memory import shared_room
with shared_room("token", 1, 2, Path(sys.argv[1])) as room:
    tensor = room.tensor("t", (3, 4), torch.half)
    assert tensor[0, 0] == 7
    tensor[1, 1] = 9
"""


@pytest.fixture(params=["memory", "folder"])
def place(request, monkeypatch, tmp_path) -> Path:
    """Where the shared tensors lie."""
    monkeypatch.setattr(shared_memory, "SHARED", tmp_path if request.param == "memory" else tmp_path / "missing")
    return tmp_path


def test_processes_see_one_memory_and_leave_no_file(tmp_path, monkeypatch):
    with shared_room("token", 0, 2, tmp_path) as room:
        tensor = room.tensor("t", (3, 4), torch.half)
        assert not tensor.any()
        tensor[0, 0] = 7
        subprocess.run([sys.executable, "-c", OTHER, str(tmp_path)], check=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert tensor[1, 1] == 9
    assert not list(tmp_path.rglob("maclip-token*"))
    assert not list(Path("/dev/shm").glob("maclip-token*"))


def test_two_stores_share_the_tokens_and_the_work(tmp_path, make_model, place):
    model = make_model(adapted_depth=1, frames=4)
    classes = open_folders(write_classes(tmp_path / "clips", 3)).classes
    stem, seen = model.frozen_stem(), []
    alone = store_for(model, classes)
    alone.cache_stem(stem)
    stores: list[ClipStore] = [store_for(model, classes) for _ in range(2)]
    with shared_room("a", 0, 2, place / "state") as first, shared_room("a", 1, 2, place / "state") as second:
        for store, room in zip(stores, (first, second), strict=True):
            done: list[int] = []
            store.cache_stem(stem, room=room, progress=lambda at, _, done=done: done.append(at))
            seen.append(len(done))
    assert sum(seen) == len(alone)
    assert max(seen) < len(alone)
    ids = np.arange(len(alone))
    for store in stores:
        assert torch.equal(store.load(ids), alone.load(ids))
    assert not list(place.rglob("maclip-*"))


def test_a_cache_that_the_machine_cannot_hold_is_refused(tmp_path, make_model, monkeypatch):
    model = make_model(adapted_depth=1, frames=4)
    store = store_for(model, open_folders(write_classes(tmp_path / "clips", 2)).classes)
    monkeypatch.setattr(shared_memory, "available_bytes", lambda: store.cache_bytes(model.frozen_stem()) - 1)
    with shared_room("b", 0, 2, tmp_path) as shared:
        for room in (None, shared):
            with pytest.raises(MaclipError) as caught:
                store.cache_stem(model.frozen_stem(), room=room)
            assert caught.value.code == "memory-short"
            assert "--cache disk" in caught.value.fix
    monkeypatch.undo()
    require_memory(1)
    assert (available_bytes() or 1) > 0
