"""A gallery whose file is put in another's place, or removed, while a recogniser has it open."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tiny_bundle import write_bundle

from maclip_runtime import Gallery, Recognizer


@pytest.fixture
def other(bundle: Path, clips: Path, tmp_path: Path) -> Path:
    """A gallery of one class, "blue light", of the same generation as `enrolled`."""
    path = tmp_path / "other.db"
    with Recognizer.open(bundle, path) as recognizer:
        recognizer.enroll("blue light", clips / "blue1.mp4")
        recognizer.add_negatives([clips / "red1.mp4"])
    return path


def names(bundle: Path, gallery: Path) -> list[str]:
    with Recognizer.open(bundle, gallery) as recognizer:
        return [info.name for info in recognizer.classes()]


def test_the_file_that_is_there_now_counts(bundle: Path, enrolled: Path, other: Path, clips: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        assert recognizer.classify(clips / "blue1.mp4").label == "unknown"
        before = recognizer.gallery.generation, recognizer.gallery.version
        os.replace(other, enrolled)
        assert recognizer.gallery.generation == before[0]  # by number alone nothing has changed
        assert recognizer.gallery.version != before[1]
        assert recognizer.classify(clips / "blue1.mp4").label == "blue light"
        recognizer.enroll("green light", clips / "green1.mp4")
    assert names(bundle, enrolled) == ["blue light", "green light"]


def test_one_that_is_removed_is_empty_and_begins_anew(bundle: Path, enrolled: Path, clips: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        assert len(recognizer.classes()) == 2
        enrolled.unlink()
        assert recognizer.classes() == []
        recognizer.enroll("blue light", clips / "blue1.mp4")
        assert recognizer.classify(clips / "blue1.mp4").label == "blue light"
    assert names(bundle, enrolled) == ["blue light"]


def test_one_of_another_model_does_not_stop_a_stream(
    bundle: Path, enrolled: Path, clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strange = tmp_path / "strange.db"
    with Recognizer.open(write_bundle(tmp_path / "other", contract="another"), strange) as recognizer:
        recognizer.enroll("blue light", clips / "blue1.mp4")
    with Recognizer.open(bundle, enrolled) as recognizer:
        before = recognizer._index.in_stream()
        os.replace(strange, enrolled)
        for _ in range(2):  # refused each time, not only when it is opened
            assert recognizer._index.in_stream() is before
    assert "another model" in caplog.text


def test_a_copy_of_the_file_alone_is_whole(bundle: Path, enrolled: Path, clips: Path, tmp_path: Path) -> None:
    """While it is open: nothing stands in a log beside it that a copy would miss."""
    copy = tmp_path / "copy.db"
    with Recognizer.open(bundle, enrolled) as recognizer:
        recognizer.enroll("blue light", clips / "blue1.mp4")
        shutil.copyfile(enrolled, copy)
    assert names(bundle, copy) == ["red light", "green light", "blue light"]


def test_the_log_of_the_one_before_is_not_applied(bundle: Path, enrolled: Path, clips: Path, other: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        recognizer.enroll("blue light", clips / "blue1.mp4")
        os.replace(other, enrolled)
        with Gallery(enrolled) as opened:  # another program, which knows nothing of the first
            assert [info.name for info in opened.classes()] == ["blue light"]
            assert len(opened.negatives()) == 1
    with sqlite3.connect(enrolled) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.skipif(os.name == "nt", reason="users and modes are those of Unix")
def test_a_reader_without_rights_sees_what_others_change(bundle: Path, enrolled: Path, clips: Path) -> None:
    program = """
import os, sys
from maclip_runtime import Gallery
gallery, user = sys.argv[1:]
if os.geteuid() == 0:
    os.setuid(int(user))  # root may write anywhere
with Gallery(gallery) as opened:
    for _ in range(2):
        print([info.name for info in opened.classes()], flush=True)
        sys.stdin.readline()
"""
    folder = Path(tempfile.mkdtemp(prefix="maclip-read-only-"))  # that others may enter, unlike pytest's own
    try:
        gallery = folder / "gallery.db"
        shutil.copy(enrolled, gallery)
        gallery.chmod(0o644)
        folder.chmod(0o755 if os.geteuid() == 0 else 0o555)
        arguments = [sys.executable, "-c", program, str(gallery), "65534"]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdin is not None
            assert reader.stdout is not None
            assert "blue light" not in reader.stdout.readline()
            folder.chmod(0o755)
            with Recognizer.open(bundle, gallery) as recognizer:
                recognizer.enroll("blue light", clips / "blue1.mp4")
            print(file=reader.stdin, flush=True)
            assert "blue light" in reader.stdout.readline()
            reader.stdin.close()
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)
