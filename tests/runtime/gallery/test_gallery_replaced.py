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
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery import EnrolledClip, file, opening
from maclip_runtime.matching import index
from maclip_runtime.reading.frames import Floats


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
        before = recognizer.index.in_stream()
        os.replace(strange, enrolled)
        for _ in range(2):  # refused each time, not only when it is opened
            assert recognizer.index.in_stream() is before
        assert caplog.text.count("another model") == 1


HOLDS = """
import sys
from maclip_runtime import Gallery
with Gallery(sys.argv[1]) as gallery:
    for _ in sys.stdin:
        print([info.name for info in gallery.classes()], flush=True)
"""


def test_each_program_that_has_the_old_file_open_comes_to_the_new_one(
    bundle: Path, enrolled: Path, clips: Path, tmp_path: Path
) -> None:
    larger = tmp_path / "larger.db"
    with Recognizer.open(bundle, larger) as recognizer:
        for number in range(12):
            recognizer.enroll(f"light {number}", clips / "blue1.mp4", no_text=True, force=True)
    command = [sys.executable, "-c", HOLDS, str(enrolled)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        print(file=holder.stdin, flush=True)
        assert "red light" in holder.stdout.readline()
        with Recognizer.open(bundle, enrolled) as recognizer:
            recognizer.enroll("blue light", clips / "blue1.mp4")
            os.replace(larger, enrolled)
            assert len(names(bundle, enrolled)) == 12
            assert len(recognizer.classes()) == 12
            print(file=holder.stdin, flush=True)
            assert "light 11" in holder.stdout.readline()
        holder.stdin.close()
    with sqlite3.connect(enrolled) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_one_that_is_written_over_counts_and_stays_whole(
    bundle: Path, enrolled: Path, other: Path, clips: Path
) -> None:
    """As `cp` does it: the same file with other content, of the same generation."""
    with Recognizer.open(bundle, enrolled) as recognizer:
        assert recognizer.classify(clips / "blue1.mp4").label == "unknown"
        shutil.copyfile(other, enrolled)
        assert recognizer.classify(clips / "blue1.mp4").label == "blue light"
        recognizer.enroll("green light", clips / "green1.mp4")
    assert names(bundle, enrolled) == ["blue light", "green light"]
    with sqlite3.connect(enrolled) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_one_that_takes_the_number_of_the_one_before_is_another(bundle: Path, gallery: Path, clips: Path) -> None:
    """A file system gives the number of a removed file to the next one."""
    with Recognizer.open(bundle, gallery) as recognizer:
        recognizer.enroll("red light", clips / "red1.mp4")
        assert recognizer.classify(clips / "red1.mp4").nearest == "red light"
        gallery.unlink()
        assert recognizer.classes() == []
        with Recognizer.open(bundle, gallery) as anew:
            anew.enroll("blue light", clips / "blue1.mp4")
        assert recognizer.classify(clips / "blue1.mp4").nearest == "blue light"


def test_what_is_made_of_one_is_not_kept_in_the_next(
    bundle: Path, enrolled: Path, other: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (enrolled, other):
        with sqlite3.connect(path) as connection:
            connection.execute("DELETE FROM prototypes")
            connection.execute("DELETE FROM measured_limit")
        connection.close()
    make = index.make_prototype

    def make_and_replace(encoder: Encoder, clip: EnrolledClip) -> Floats:
        if other.exists():
            os.replace(other, enrolled)
        return make(encoder, clip)

    monkeypatch.setattr(index, "make_prototype", make_and_replace)
    with Recognizer.open(bundle, enrolled) as recognizer:
        recognizer.index.get()
        with sqlite3.connect(enrolled) as connection:
            assert connection.execute("SELECT * FROM prototypes").fetchall() == []
            assert connection.execute("SELECT * FROM measured_limit").fetchall() == []
        connection.close()
        assert recognizer.classify(clips / "blue1.mp4").label == "blue light"


def test_an_enrolment_that_would_be_lost_is_told(
    bundle: Path, enrolled: Path, other: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = Gallery._insert

    def insert_and_replace(self: Gallery, *args: object) -> int:
        if other.exists():
            os.replace(other, enrolled)
        return insert(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Gallery, "_insert", insert_and_replace)
    with Recognizer.open(bundle, enrolled) as recognizer:
        with pytest.raises(MaclipError) as caught:
            recognizer.enroll("green light", clips / "green1.mp4", force=True)
        assert caught.value.code == "output-unwritable"
        assert [info.name for info in recognizer.classes()] == ["blue light"]
        recognizer.enroll("green light", clips / "green1.mp4")
    assert names(bundle, enrolled) == ["blue light", "green light"]


def test_a_fault_that_comes_back_is_told_again(
    enrolled: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Gallery) -> tuple[int, int]:
        raise MaclipError("gallery-corrupt", "The disk is gone.", "Find it.")

    with Recognizer.open(bundle, enrolled) as recognizer:
        for _ in range(2):
            assert recognizer.index.in_stream() is not None
            with monkeypatch.context() as patch:
                patch.setattr(Gallery, "version", property(fail))
                assert recognizer.index.in_stream() is not None
    assert caplog.text.count("The disk is gone") == 2


def test_what_is_read_within_a_change_is_of_the_file_that_changes(
    enrolled: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def replace_and_read(self: Gallery, *args: object) -> str:
        os.replace(other, enrolled)
        seen.extend(member.class_name for member in self.members())
        return "red light"

    monkeypatch.setattr(Gallery, "_require", replace_and_read)
    with Gallery(enrolled) as gallery:
        with pytest.raises(MaclipError) as caught:
            gallery.remove("red light")
        assert caught.value.code == "output-unwritable"
        assert set(seen) == {"red light", "green light"}
        assert [info.name for info in gallery.classes()] == ["blue light"]


def test_a_change_of_ones_own_is_no_reason_to_open_it_again(bundle: Path, enrolled: Path, clips: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        before = recognizer.gallery.version
        recognizer.enroll("blue light", clips / "blue1.mp4")
        assert recognizer.gallery.version == (before[0] + 1, before[1])


def test_the_gallery_stays_where_it_was_when_the_program_goes_elsewhere(
    enrolled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(enrolled.parent)
    with Gallery(enrolled.name) as gallery:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert len(gallery.classes()) == 2


def test_a_disk_that_does_not_answer_leaves_the_gallery_open(enrolled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> tuple[int, ...]:
        raise PermissionError(13, "Permission denied")

    with Gallery(enrolled) as gallery:
        monkeypatch.setattr(file, "stamp_of", fail)
        assert len(gallery.classes()) == 2
    monkeypatch.setattr(opening, "stamp_of", fail)
    with pytest.raises(MaclipError) as caught:
        Gallery(enrolled)
    assert caught.value.code == "output-unwritable"


def test_a_file_that_is_replaced_while_it_is_opened_is_opened_again(
    bundle: Path, enrolled: Path, other: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = opening._prepare

    def prepare_and_replace(*args: object) -> bool:
        if other.exists():
            os.replace(other, enrolled)
        return prepare(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(opening, "_prepare", prepare_and_replace)
    with Recognizer.open(bundle, enrolled) as recognizer:
        assert [info.name for info in recognizer.classes()] == ["blue light"]
        recognizer.enroll("green light", clips / "green1.mp4")
    assert names(bundle, enrolled) == ["blue light", "green light"]


def test_a_copy_of_the_file_alone_is_whole(bundle: Path, enrolled: Path, clips: Path, tmp_path: Path) -> None:
    """While it is open: nothing stands in a log beside it that a copy would miss."""
    copy = tmp_path / "copy.db"
    with Recognizer.open(bundle, enrolled) as recognizer:
        recognizer.enroll("blue light", clips / "blue1.mp4")
        shutil.copyfile(enrolled, copy)
        assert set(tmp_path.glob("*.db*")) == {enrolled, copy}
    assert names(bundle, copy) == ["red light", "green light", "blue light"]


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
