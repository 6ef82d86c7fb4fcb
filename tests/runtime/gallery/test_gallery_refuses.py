"""The database refuses what it could not read back, whoever writes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maclip_runtime import EnrolledClip, Gallery
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery import ClassLimit

CLIPS: dict[str, object] = {
    "class": b"red",
    "text_name": None,  # of a clip that has a text
    "text": b"\0" * 44,
    "features": b"\0" * 188,
    "query": "none",
    "frames": 3,
    "width": 0,
    "digest": b"d",
    "source": b"s",
    "enrolled_at": b"now",
    "duration_s": np.float64(2).tobytes(),
    "quality": "{",
    "thumbnail": "jpeg",
    "forced": "{}",
}
MORE: list[tuple[str, object]] = [
    ("duration_s", 0.0),
    ("duration_s", -1.0),
    ("duration_s", float("inf")),
    ("duration_s", float("nan")),
    ("quality", "[]"),
    ("forced", "none"),
    ("class", ""),
]


@pytest.mark.parametrize(("column", "value"), [*CLIPS.items(), *MORE])
def test_a_value_that_could_not_be_read_is_not_stored(enrolled: Path, column: str, value: object) -> None:
    connection = sqlite3.connect(enrolled)
    with pytest.raises(sqlite3.IntegrityError), connection:
        connection.execute(f"UPDATE clips SET {column} = ?", (value,))
    connection.close()
    with Gallery(enrolled) as gallery:
        assert len(gallery.clips()) == 4


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("meta", ("x", b"1")),
        ("limits", ("red light", b"1", "", "", "", "{}")),
        ("limits", ("red light", float("inf"), "", "", "", "{}")),
        ("limits", ("red light", 1.0, "", "", "", "none")),
        ("limits", (b"red light", 1.0, "", "", "", "{}")),
        ("measured_limit", (1, "x", "far")),
        ("measured_limit", (1, b"x", 1.0)),
    ],
)
def test_other_tables_refuse_likewise(enrolled: Path, table: str, values: tuple[object, ...]) -> None:
    connection = sqlite3.connect(enrolled)
    with pytest.raises(sqlite3.IntegrityError), connection:
        connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(values))})", values)
    connection.close()


def with_values(**values: Any) -> Callable[[EnrolledClip], EnrolledClip]:
    return lambda clip: replace(clip, **values)


ONE = np.ones((4, 12), np.float32)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (with_values(duration_s="long"), "clip-invalid"),
        (with_values(duration_s=float("nan")), "clip-invalid"),
        (with_values(duration_s=1e9), "clip-invalid"),
        (with_values(duration_s=None), "clip-invalid"),
        (with_values(features=ONE.tolist()), "clip-invalid"),
        (with_values(features=ONE.astype(int)), "clip-invalid"),
        (with_values(features=ONE[0]), "clip-invalid"),
        (with_values(query=ONE[:3]), "clip-invalid"),
        (with_values(features=ONE[:, :0], query=ONE[:, :0]), "clip-invalid"),
        (with_values(text=None), "clip-invalid"),
        (with_values(text_name=None), "clip-invalid"),
        (with_values(text=ONE[0, :5]), "clip-invalid"),
        (with_values(features=ONE * np.float32("nan")), "features-invalid"),
        (with_values(query=ONE * 1e5), "features-invalid"),
        (with_values(features=ONE.astype(float) * 1e300), "features-invalid"),
        (with_values(digest=b"abc"), "clip-invalid"),
        (with_values(source=None), "clip-invalid"),
        (with_values(thumbnail="jpeg"), "clip-invalid"),
        (with_values(quality=[1]), "clip-invalid"),
        (with_values(quality={"motion": "much"}), "clip-invalid"),
        (with_values(quality={"motion": float("inf")}), "clip-invalid"),
        (with_values(forced=(1,)), "clip-invalid"),
        (with_values(class_name="unknown"), "name-invalid"),
        (with_values(class_name=7), "name-invalid"),
    ],
)
def test_a_clip_that_could_not_be_read_is_not_added(
    enrolled: Path, change: Callable[[EnrolledClip], EnrolledClip], code: str
) -> None:
    with Gallery(enrolled) as gallery:
        clip = gallery.clips("red light")[0]
        with pytest.raises(MaclipError) as caught:
            gallery.add([change(replace(clip, digest="new"))], ONE[None], "graph")
        assert caught.value.code == code
        assert len(gallery.clips()) == 4


def test_numbers_that_numpy_computed_are_stored_as_numbers(enrolled: Path) -> None:
    """A numpy number was once a BLOB that made the whole gallery unreadable."""
    with Gallery(enrolled) as gallery:
        clip = gallery.clips("red light")[0]
        odd = replace(
            clip,
            digest=np.str_("new"),
            duration_s=np.float32(2),
            quality={"motion": np.float32(5), "blur": np.int64(0)},  # type: ignore[dict-item]
            features=clip.features.astype(np.float64),
            source="/clips/b\udcff.mp4",  # an undecodable byte of a path
        )
        gallery.add([odd], ONE[None], "graph")
        kept = gallery.clips("red light")[-1]
        assert (kept.duration_s, kept.quality, kept.digest) == (2.0, {"motion": 5.0, "blur": 0.0}, "new")
        assert kept.source == "/clips/b?.mp4"
        gallery.keep_limits([ClassLimit("red light", np.float32(0.5), "", "", "", {"clips": 2})])  # type: ignore[arg-type]
        assert gallery.limits()["red light"].value == 0.5


@pytest.mark.parametrize(
    "limit",
    [
        ClassLimit("red light", float("nan"), "", "", "", {}),
        ClassLimit("red light", "far", "", "", "", {}),  # type: ignore[arg-type]
        ClassLimit("red light", 1.0, "", "", "", {"a": {"b": 1}}),
        ClassLimit("red light", 1.0, "", "", "", {"a": [[1]]}),
        ClassLimit("red light", 1.0, "", "", "", {"a": float("inf")}),
        ClassLimit("red light", 1.0, "", "", "", []),  # type: ignore[arg-type]
        ClassLimit("red light", 1.0, None, "", "", {}),  # type: ignore[arg-type]
    ],
)
def test_limits_that_could_not_be_read_are_not_kept(enrolled: Path, limit: ClassLimit) -> None:
    with Gallery(enrolled) as gallery:
        gallery.keep_limits([ClassLimit("red light", 1.0, "", "", "", {"misses": None, "interval": (0.1, 0.2)})])
        with pytest.raises(MaclipError) as caught:
            gallery.keep_limits([limit])
        assert caught.value.code == "clip-invalid"
        assert gallery.limits()["red light"].value == 1.0
