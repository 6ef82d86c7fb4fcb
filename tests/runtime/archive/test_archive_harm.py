"""What can happen to a store: kills, torn files, full disks, two writers."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from videos import color_video

from maclip_runtime import Archive, MaclipError
from maclip_runtime.archive import Progress, fragments, indexing
from maclip_runtime.archive.store import Store
from maclip_runtime.archive.view import View

pytest.importorskip("pyarrow")

Opener = Callable[[Path], Archive]
KILLED = """
import os, signal, sys
from maclip_runtime.archive import Archive, indexing
indexing.FRAGMENT_WINDOWS = 16
def stop(done):
    if done.windows >= 48:
        os.kill(os.getpid(), signal.SIGKILL)
with Archive.open(sys.argv[1], sys.argv[2], device="cpu", threads=1) as archive:
    archive.index(sys.argv[3], window_s=1.0, progress=stop)
"""


def view_of(store: Path) -> View:
    opened = Store(store)
    assert opened.settings is not None
    return View(opened, opened.settings)


def code_of(use: Callable[[], object]) -> str:
    with pytest.raises(MaclipError) as caught:
        use()
    return caught.value.code


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty seconds: 77 windows of a second."""
    file = tmp_path_factory.mktemp("long") / "long.mp4"
    return color_video(file, [("red", 7.0), ("blue", 6.0), ("green", 7.0)])


@pytest.fixture(scope="session")
def whole(long: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> View:
    """All of it, indexed at one go."""
    store = tmp_path_factory.mktemp("whole") / "store"
    with Archive.open(store, bundle, device="cpu", threads=1) as archive:
        archive.index(long, window_s=1.0)
    return view_of(store)


def same(store: Path, whole: View) -> bool:
    """Whether a store holds every window of `long` once, with the same features."""
    view = view_of(store)
    rows = view.rows_of(0)
    return (
        len(view) == len(whole)
        and view.number[rows].tolist() == whole.number.tolist()
        and view.times[rows].tolist() == whole.times.tolist()
        and bool(np.allclose(view.features(rows), whole.features(whole.rows_of(0)), atol=0.01))
        and view.videos[0].complete
    )


def test_a_killed_indexing_goes_on_within_the_video(
    long: Path, store: Path, bundle: Path, whole: View, opened: Opener
) -> None:
    command = [sys.executable, "-c", KILLED, str(store), str(bundle), str(long)]
    assert subprocess.run(command, timeout=100, check=False).returncode == -signal.SIGKILL
    (store / "0123.part").write_bytes(b"of a killed program")
    there = len(view_of(store))
    assert there == 48
    done = opened(store).index(long)
    assert done.windows == len(whole) - there
    assert not list(store.glob("*.part"))
    assert same(store, whole)


def test_an_interrupted_indexing_keeps_everything(long: Path, store: Path, whole: View, opened: Opener) -> None:
    def stop(done: Progress) -> None:
        if done.windows >= 30:
            raise KeyboardInterrupt

    archive = opened(store)
    with pytest.raises(KeyboardInterrupt):
        archive.index(long, window_s=1.0, progress=stop)
    assert len(view_of(store)) >= 30
    archive.index(long)
    assert same(store, whole)


@pytest.mark.parametrize("harm", ["half", "empty", "zeros", "last byte"])
def test_a_torn_fragment_is_named_and_done_again(
    long: Path, store: Path, whole: View, opened: Opener, harm: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(indexing, "FRAGMENT_WINDOWS", 32)
    archive = opened(store)
    archive.index(long, window_s=1.0)
    victim = sorted(store.glob("*.arrow"))[1]
    data = victim.read_bytes()
    kept = {"half": data[: len(data) // 2], "empty": b"", "zeros": data[:2000] + bytes(len(data) - 2000)}
    victim.write_bytes(kept.get(harm, data[:-1]))
    view = view_of(store)
    assert f"{victim} is torn" in caplog.text
    assert 0 < len(view) < len(whole)
    assert not view.videos[0].complete
    done = archive.index(long)
    assert done.torn == [victim.name]
    assert done.windows == len(whole) - len(view)
    assert victim.with_suffix(".torn").exists()
    assert same(store, whole)


def test_a_full_disk_is_said_and_what_is_written_stays(
    long: Path, store: Path, whole: View, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "FRAGMENT_WINDOWS", 16)
    archive, real, written = opened(store), os.fsync, []

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) > 4:  # two fragments, each with its folder
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(fragments.os, "fsync", full)
    with pytest.raises(MaclipError, match=r"No space left on device\). What was indexed before is kept") as caught:
        archive.index(long, window_s=1.0)
    assert caught.value.code == "output-unwritable"
    monkeypatch.setattr(fragments.os, "fsync", real)
    assert len(view_of(store)) == 32
    assert not list(store.glob("*.part"))
    archive.index(long)
    assert same(store, whole)


def test_one_program_at_a_time_indexes(long: Path, store: Path, opened: Opener) -> None:
    first, second = opened(store), opened(store)
    codes = []
    first.index(long, window_s=1.0, progress=lambda _: codes.append(code_of(lambda: second.index(long))))
    assert set(codes) == {"archive-busy"}
    assert second.index(long).there == [str(long)]


def test_a_file_of_another_program_is_refused(long: Path, store: Path, opened: Opener) -> None:
    import pyarrow as pa

    archive = opened(store)
    archive.index(long, window_s=1.0)
    table = pa.table({"a": [1]}).replace_schema_metadata({b"maclip": b'{"format": "maclip-archive", "version": 99}'})
    with pa.OSFile(str(store / "00000099.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    assert code_of(lambda: archive.find(long)) == "archive-corrupt"


def test_places_that_cannot_be(long: Path, tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    assert code_of(lambda: opened(tmp_path / "file").index(long)) == "output-unwritable"
    store = tmp_path / "store"
    archive = opened(store)
    archive.index(long, window_s=1.0)

    def broken(_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr("maclip_runtime.archive.store.read_fragment", broken)
        assert code_of(lambda: archive.find(long)) == "archive-unreadable"
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(MaclipError, match=r"pip install 'maclip\[archive\]'") as caught:
            archive.find(long)
        assert (caught.value.code, caught.value.exit_code) == ("archive-missing", 3)
