"""The gallery when things go wrong around it: kills, several programs at once, full and read-only disks."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from maclip_runtime import Gallery, Recognizer
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery import errors, opening

KILLED = """
import os, signal, sys
from maclip_runtime import Gallery, Recognizer
bundle, gallery, *clips = sys.argv[1:]
inserted = []
insert = Gallery._insert
def insert_then_die(self, *args):
    done = insert(self, *args)
    inserted.append(1)
    if len(inserted) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
Gallery._insert = insert_then_die
with Recognizer.open(bundle, gallery, device="cpu") as recognizer:
    recognizer.enroll("blue light", clips, force=True)
"""


@pytest.mark.parametrize("exists", [True, False])
def test_gallery_survives_kill_during_enroll(
    bundle: Path, clips: Path, request: pytest.FixtureRequest, gallery: Path, exists: bool
) -> None:
    if exists:
        request.getfixturevalue("enrolled")
    blue = str(clips / "blue1.mp4")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(bundle), str(gallery), blue, blue, blue], timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL
    with Recognizer.open(bundle, gallery) as recognizer:
        names = [info.name for info in recognizer.classes()]
        assert names == (["red light", "green light"] if exists else [])
        recognizer.enroll("blue light", blue)
        assert recognizer.classify(blue).label == "blue light"
    with sqlite3.connect(gallery) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


# Enrolls classes of three clips each for ever, and says which are in. No engine: the gallery is what is tried.
ENROLLS = """
import sys
import numpy as np
from maclip_runtime.gallery import EnrolledClip, Gallery
path, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with Gallery(path, contract="tiny") as gallery:
    print("ready", flush=True)
    for number in range(first, last):
        features = np.full((4, 12), number, np.float32)
        made = [
            EnrolledClip(
                f"class {number}", None, None, features, features, f"{number}.{clip}", "drawn", 1.0, {}, bytes(20_000)
            )
            for clip in range(3)
        ]
        gallery.add(made, np.stack([features] * 3), "graph")
        print(number, flush=True)
"""


def enrolling(gallery: Path, first: int, last: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ENROLLS, str(gallery), str(first), str(last)], stdout=subprocess.PIPE, text=True
    )


def clips_of(gallery: Path) -> dict[int, list[tuple[int, int]]]:
    """For each class its clips: how many numbers their features hold, and whether the prototype is there."""
    found: dict[int, list[tuple[int, int]]] = {}
    with sqlite3.connect(gallery) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        query = "SELECT class, length(features), prototypes.clip NOT NULL FROM clips LEFT JOIN prototypes ON clip = id"
        for name, size, prototype in connection.execute(query):
            found.setdefault(int(name.split()[1]), []).append((size, prototype))
    connection.close()
    return found


def test_each_acknowledged_enrolment_survives_25_kills(gallery: Path) -> None:
    dice = random.Random(7)
    acknowledged: set[int] = set()
    kills, next_number = 0, 0
    while len(acknowledged) < 200 or kills < 25:
        process = enrolling(gallery, next_number, next_number + 1000)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(dice.randrange(4, 12)):
            acknowledged.add(int(process.stdout.readline()))
        time.sleep(dice.random() * 0.01)  # anywhere within the next ones
        process.kill()
        acknowledged.update(int(line) for line in process.stdout)  # what was said before the end came
        process.wait()
        process.stdout.close()
        kills += 1
        found = clips_of(gallery)
        assert acknowledged <= set(found)
        assert all(clips == [(4 * 12 * 4, 1)] * 3 for clips in found.values()), "a class is there in half"
        next_number = max(found) + 1
        acknowledged |= set(found)
    with Gallery(gallery) as opened:
        assert len(opened.classes()) == len(acknowledged)


def test_two_programs_enroll_at_once(gallery: Path) -> None:
    both = [enrolling(gallery, first, first + 25) for first in (0, 1000)]
    for process in both:
        assert process.stdout is not None
        assert len(process.stdout.read().splitlines()) == 26
        process.stdout.close()
        assert process.wait(timeout=60) == 0
    found = clips_of(gallery)
    assert set(found) == {*range(25), *range(1000, 1025)}
    with Gallery(gallery) as opened:
        assert opened.generation == 50


def test_a_running_recogniser_sees_another_programs_class_within_a_second(
    bundle: Path, enrolled: Path, clips: Path
) -> None:
    program = (
        "import sys, time\nfrom maclip_runtime import Recognizer\n"
        "with Recognizer.open(*sys.argv[1:3], device='cpu') as recognizer:\n"
        "    recognizer.enroll('blue light', sys.argv[3])\n    print(time.time(), flush=True)"
    )
    with Recognizer.open(bundle, enrolled) as recognizer:
        assert recognizer.classify(clips / "blue1.mp4").label == "unknown"
        done = subprocess.run(
            [sys.executable, "-c", program, str(bundle), str(enrolled), str(clips / "blue1.mp4")],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=60,
        )
        assert recognizer.classify(clips / "blue1.mp4").label == "blue light"
        assert time.time() - float(done.stdout) < 1.0


def test_a_stream_does_not_wait_for_a_program_that_writes(
    bundle: Path, enrolled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        before = recognizer._index.in_stream()
        writer = sqlite3.connect(enrolled, isolation_level=None)
        writer.execute("BEGIN EXCLUSIVE")
        writer.execute("UPDATE clips SET class = 'amber light' WHERE class = 'green light'")
        writer.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")
        begun = time.monotonic()
        assert recognizer._index.in_stream() is before
        assert time.monotonic() - begun < opening.BUSY_SECONDS / 3
        os.utime(enrolled)  # so that it is opened again, which must not go past the lock
        assert recognizer._index.in_stream() is before
        assert not [one for one in caplog.records if one.levelno >= logging.WARNING]  # nothing is wrong
        writer.execute("COMMIT")
        writer.close()
        after = recognizer._index.in_stream()
        assert after is not None
        assert after.names == ("red light", "amber light")


def test_a_lock_of_this_program_outlives_an_opening_beside_it(gallery: Path) -> None:
    """POSIX drops all of a process's locks on a file when it closes any handle of it."""
    gallery.touch()
    first = sqlite3.connect(gallery, isolation_level=None)
    first.execute("BEGIN EXCLUSIVE")
    with pytest.raises(MaclipError) as caught:
        opening.connect(gallery, create=True, wait_s=0.05)
    assert errors.BUSY in str(caught.value)
    program = "import sqlite3, sys; sqlite3.connect(sys.argv[1], 0).execute('BEGIN IMMEDIATE')"
    done = subprocess.run([sys.executable, "-c", program, str(gallery)], stderr=subprocess.PIPE, text=True, check=False)
    assert "locked" in done.stderr
    first.close()


def test_others_read_during_a_large_import(enrolled: Path) -> None:
    with Gallery(enrolled, contract="tiny") as importer, Gallery(enrolled) as reader:
        clip = replace(importer.clips("red light")[0], class_name="blue light", thumbnail=bytes(1 << 20))
        with importer.importing(importer.contract, clip.features.shape) as importing:  # type: ignore[arg-type]
            for number in range(8):
                importing.clip(replace(clip, digest=str(number)))
            with reader.patience(0.05):
                assert len(reader.classes()) == 2
        assert len(reader.classes()) == 3


def test_a_full_disk_is_told_and_recognition_goes_on(bundle: Path, enrolled: Path, clips: Path) -> None:
    program = """
import resource, sys
from maclip_runtime import Recognizer
from maclip_runtime.errors import MaclipError
bundle, gallery, red, blue = sys.argv[1:]
with Recognizer.open(bundle, gallery, device="cpu") as recognizer:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
    for act in (lambda: recognizer.enroll("blue light", blue), recognizer.calibrate):
        try:
            act()
        except MaclipError as error:
            print(error.code)
    print(recognizer.classify(red).label, [info.clips for info in recognizer.classes()])
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(recognizer.enroll("blue light", blue).clips)
"""
    arguments = [str(bundle), str(enrolled), str(clips / "red3.mp4"), str(clips / "blue1.mp4")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["output-unwritable", "output-unwritable", "red light [2, 2]", "1"]


@pytest.mark.skipif(os.name == "nt", reason="users and modes are those of Unix")
def test_a_read_only_gallery_is_still_read(bundle: Path, enrolled: Path, clips: Path) -> None:
    program = """
import os, sys
from maclip_runtime import Recognizer
from maclip_runtime.errors import MaclipError
bundle, writable, read_only, red, blue = sys.argv[1:]
for path in (writable, read_only):
    if path == read_only and os.geteuid() == 0:
        os.setuid(65534)  # root may write anywhere; what is imported late was imported in the first round
    with Recognizer.open(bundle, path, device="cpu") as recognizer:
        print(recognizer.classify(red).label)
        for act in (recognizer.calibrate, lambda: recognizer.enroll("blue light", blue)):
            try:
                act()
            except MaclipError as error:
                print(error.code)
        print(recognizer.classify(red).label)
"""
    folder = Path(tempfile.mkdtemp(prefix="maclip-read-only-"))  # that others may enter, unlike pytest's own
    try:
        shutil.copytree(bundle, folder / "bundle")
        for clip in ("red3.mp4", "blue1.mp4"):
            shutil.copy(clips / clip, folder)
        shutil.copy(enrolled, folder / "gallery.db")
        for file in folder.rglob("*.*"):
            file.chmod(0o444)
        folder.chmod(0o555)
        places = [folder / "bundle", enrolled, folder / "gallery.db", folder / "red3.mp4", folder / "blue1.mp4"]
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, places)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=60,
        )
        writable = ["red light", "red light"]
        assert done.stdout.splitlines() == [*writable, "red light", *["output-unwritable"] * 2, "red light"]
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)
