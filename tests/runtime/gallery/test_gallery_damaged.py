"""A gallery that a disk or a hand has damaged: told as such, never as a crash and never blamed on a clip."""

from __future__ import annotations

import gc
import os
import random
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from maclip_runtime import Gallery, Recognizer
from maclip_runtime.errors import MaclipError


def change(gallery: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(gallery) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(statement, values)
    connection.close()


def read_all(bundle: Path, gallery: Path, clip: Path) -> None:
    """All that a recogniser, `gallery show` and `gallery export` read."""
    with Recognizer.open(bundle, gallery) as recognizer:
        recognizer.classify(clip)
        recognizer.gallery.negatives()


NAN = np.full((4, 12), np.nan, np.float32).tobytes()
DAMAGE: dict[str, tuple[str, tuple[object, ...]]] = {
    "no meta": ("DROP TABLE meta", ()),
    "no clips": ("DROP TABLE clips", ()),
    "no limits": ("DROP TABLE limits", ()),
    "generation": ("UPDATE meta SET value = 'many' WHERE key = 'generation'", ()),
    "frames": ("UPDATE clips SET frames = 3", ()),
    "features": ("UPDATE clips SET features = ?", (NAN,)),
    "short features": ("UPDATE clips SET features = x'0000'", ()),
    "features of text": ("UPDATE clips SET features = 'none'", ()),
    "query": ("UPDATE clips SET query = ?", (NAN,)),
    "text": ("UPDATE clips SET text = ?", (NAN[:48],)),
    "short text": ("UPDATE clips SET text = x'00000000'", ()),
    "text without name": ("UPDATE clips SET text_name = NULL", ()),
    "undecodable class": ("UPDATE clips SET class = CAST(x'ff' AS TEXT)", ()),
    "class of bytes": ("UPDATE clips SET class = x'ff'", ()),
    "digest of bytes": ("UPDATE clips SET digest = x'ff'", ()),
    "duration of text": ("UPDATE clips SET duration_s = 'long'", ()),
    "no duration": ("UPDATE clips SET duration_s = 0", ()),
    "endless": ("UPDATE clips SET duration_s = 9e999", ()),
    "no JSON": ("UPDATE clips SET quality = '{'", ()),
    "other JSON": ("UPDATE clips SET quality = '[]'", ()),
    "forced of an object": ("UPDATE clips SET forced = '{\"a\": 1}'", ()),
    "huge figure": ("UPDATE clips SET quality = ?", (f'{{"blur": {10**400}}}',)),
    "frames of text": ("UPDATE clips SET frames = 9999999999, width = 'ab'", ()),
    "contract of bytes": ("UPDATE meta SET value = x'ff' WHERE key = 'contract'", ()),
    "source of bytes": ("UPDATE clips SET source = x'ff'", ()),
    "deep JSON": ("UPDATE clips SET forced = ?", ("[" * 100_000,)),
    "limit of text": ("INSERT INTO limits VALUES ('red light', 'far', '', '', '', '{}')", ()),
    "endless limit": ("INSERT INTO limits VALUES ('red light', 9e999, '', '', '', '{}')", ()),
    "limit without figures": ("INSERT INTO limits VALUES ('red light', 1, '', '', '', 'none')", ()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_told(bundle: Path, enrolled: Path, clips: Path, damage: str) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        recognizer.add_negatives([clips / "blue1.mp4"])
    change(enrolled, "DELETE FROM prototypes")
    change(enrolled, DAMAGE[damage][0], *DAMAGE[damage][1])
    with pytest.raises(MaclipError) as caught:
        read_all(bundle, enrolled, clips / "red3.mp4")
    assert caught.value.code == "gallery-corrupt"
    assert str(enrolled) in caught.value.message


@pytest.mark.parametrize(
    "damage",
    [
        ("UPDATE prototypes SET data = ?", NAN),
        ("UPDATE prototypes SET data = x'0000'",),
        ("UPDATE prototypes SET data = 'none'",),
        ("UPDATE measured_limit SET value = 'far'",),
        ("UPDATE measured_limit SET value = 9e999",),
    ],
)
def test_what_is_derived_is_made_again(bundle: Path, enrolled: Path, clips: Path, damage: tuple[str, ...]) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        before = [recognizer.classify(clips / f"{name}.mp4") for name in ("red3", "blue1")]
    change(enrolled, *damage)
    with Recognizer.open(bundle, enrolled) as recognizer:
        after = [recognizer.classify(clips / f"{name}.mp4") for name in ("red3", "blue1")]
    assert after == before
    with sqlite3.connect(enrolled) as connection:
        kept = connection.execute("SELECT length(data), typeof(data) FROM prototypes").fetchall()
        assert kept == [(4 * 4 * 12, "blob")] * 4
        assert all(abs(row[0]) < 10 for row in connection.execute("SELECT value FROM measured_limit"))
    connection.close()


def test_flipped_bytes_are_no_crash(enrolled: Path, tmp_path: Path) -> None:
    """Whatever the damage: an answer, or an error with a code that names the gallery."""
    whole, dice = enrolled.read_bytes(), random.Random(3)
    damaged, told = tmp_path / "damaged.db", set()
    # The first two pages hold the tables, the rest mostly numbers and pictures.
    places = [dice.randrange(8192) for _ in range(60)] + [dice.randrange(len(whole)) for _ in range(60)]
    for place in places:
        changed = bytearray(whole)
        changed[place : place + 4] = dice.randbytes(4)
        damaged.write_bytes(bytes(changed))
        try:
            with Gallery(damaged) as gallery:
                gallery.classes()
                gallery.clips()
                gallery.negatives()
                gallery.prototypes("graph")
        except MaclipError as error:
            told.add(error.code)
    assert "gallery-corrupt" in told
    assert told <= {"gallery-corrupt", "gallery-schema", "output-unwritable"}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files as Linux shows them")
def test_asking_a_damaged_file_again_and_again_keeps_nothing_open(enrolled: Path) -> None:
    enrolled.write_bytes(enrolled.read_bytes()[:100] + b"x" * 8000)
    gc.disable()
    try:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(30):
            with pytest.raises(MaclipError):
                Gallery(enrolled)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
    finally:
        gc.enable()


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null"), tmp_path):
        with pytest.raises(MaclipError) as caught:
            Gallery(path)
        assert caught.value.code == "output-unwritable"
