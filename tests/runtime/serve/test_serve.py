"""The server: watching, teaching, reviewing and changing the gallery over its API."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from served import Served, serving, wait_for
from videos import color_video

from maclip_runtime import Recognizer

pytest.importorskip("fastapi")
pytest.importorskip("websockets")

from maclip_runtime.gallery.rows import ClassLimit
from maclip_runtime.serve import decoding
from maclip_runtime.serve.why import path_of
from maclip_runtime.serve.windows import OPEN
from maclip_runtime.sources import Roi


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A video of two seconds for each colour."""
    folder = tmp_path_factory.mktemp("colours")
    return {name: color_video(folder / f"{name}.mp4", [(name, 2.0)], seed=9) for name in ("red", "green", "blue")}


@pytest.fixture(scope="module")
def shared(
    bundle: Path, clips: Path, colours: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    gallery = tmp_path_factory.mktemp("shared") / "gallery.db"
    with Recognizer.open(bundle, gallery, device="cpu") as recognizer:
        for name in ("red", "green"):
            recognizer.enroll(f"{name} light", [clips / f"{name}1.mp4", clips / f"{name}2.mp4"])
    with serving(bundle, gallery, [("door", colours["blue"])]) as served:
        yield served


@pytest.fixture
def door(shared: Served) -> Iterator[Served]:
    """Red and green are taught; the door shows blue, which is not. What a test changes is undone."""
    yield shared
    while shared.studio.teaching.changes():
        shared.studio.teaching.undo()
    for seen in shared.studio.windows.hard():
        seen.state = OPEN


def windows(served: Served, **query: object) -> list[dict[str, Any]]:
    asked = "&".join(f"{key}={value}" for key, value in query.items())
    found: list[dict[str, Any]] = served.call("GET", f"/api/windows?{asked}")["items"]
    return found


def names(served: Served) -> dict[str, int]:
    return {one["name"]: one["clips"] for one in served.call("GET", "/api/classes")["items"]}


def test_an_action_taught_from_nothing_is_answered_within_a_second(
    bundle: Path, gallery: Path, colours: dict[str, Path]
) -> None:
    with serving(bundle, gallery, [("door", colours["red"])]) as served:
        wait_for(lambda: served.source("door")["state"] == "running")
        wait_for(lambda: served.answer("door") == "unknown")
        take = served.call("POST", "/api/takes/record", {"source": "door", "seconds": 1.0})
        assert (take["reasons"], take["answer"]) == ([], None)
        strip = Image.open(io.BytesIO(served.call("GET", f"/api/takes/{take['id']}/strip.jpg")))
        assert strip.size == (4 * 96, 96)
        done = served.call("POST", f"/api/takes/{take['id']}/keep", {"name": "red light"})
        kept = time.monotonic()
        assert (done["name"], done["clips"]) == ("red light", 1)
        wait_for(lambda: served.answer("door") == "red light")
        assert time.monotonic() - kept < 5.0  # a second, where nothing else runs
        assert served.ask("GET", f"/api/takes/{take['id']}")[1]["code"] == "clip-unknown"
        served.call("POST", "/api/undo")
        wait_for(lambda: served.answer("door") == "unknown")
        assert served.ask("POST", "/api/undo")[1]["code"] == "undo-empty"


def test_windows_without_an_answer_are_given_a_class_and_scored_again(door: Served) -> None:
    wait_for(lambda: len(windows(door)) >= 3)
    found = windows(door, source="door", max_match=0.5)
    assert {one["kind"] for one in found} == {"unknown"}
    strip = Image.open(io.BytesIO(door.call("GET", f"/api/windows/{found[0]['id']}/strip.jpg")))
    assert strip.size == (4 * 96, 96)
    why = door.call("GET", f"/api/windows/{found[0]['id']}/why")
    assert why["now"]["reason"] == "distance"
    assert [len(clip["apart"]) for clip in why["clips"]] == [4] * 4
    assert len(why["clips"][0]["path"]) == 4
    ids = [one["id"] for one in found]
    done = door.call("POST", "/api/windows/assign", {"ids": ids[:1], "name": "blue light"})
    assert (done["added"], names(door)["blue light"]) == (1, 1)
    # The others show the same: their answers are sure now, so nobody has to look at them.
    assert not set(ids) & {one["id"] for one in windows(door)}
    assert {one["now"]["label"] for one in windows(door, state="settled")} == {"blue light"}
    wait_for(lambda: door.answer("door") == "blue light")
    door.call("POST", "/api/undo")
    assert "blue light" not in names(door)
    assert ids[0] in {one["id"] for one in windows(door, limit=200)}


def test_several_windows_at_once_leave_out_near_copies(door: Served) -> None:
    wait_for(lambda: len(windows(door)) >= 2)
    one, other = windows(door)[:2]
    seen = door.studio.windows.find(one["id"])
    copied = door.studio.windows.find(other["id"])
    assert seen
    assert copied
    before, copied.pictures = copied.pictures, seen.pictures
    done = door.call("POST", "/api/windows/assign", {"ids": [one["id"], other["id"]], "name": "blue light"})
    assert done["added"] == 1
    assert len(done["left_out"]) == 1
    status, refused = door.ask("POST", "/api/windows/assign", {"ids": [one["id"]], "name": "blue light"})
    assert (status, refused["code"]) == (409, "clip-rejected")
    assert refused["rejections"][0]["reasons"][0]["code"] == "duplicate"
    assert door.call("POST", "/api/windows/assign", {"ids": [one["id"]], "name": "blue light", "force": True})["added"]
    copied.pictures = before


def test_windows_are_skipped_or_shown_to_be_none_of_these(door: Served) -> None:
    wait_for(lambda: len(windows(door)) >= 2)
    first, second = (one["id"] for one in windows(door)[:2])
    door.call("POST", "/api/windows/skip", {"ids": [first]})
    assert first in {one["id"] for one in windows(door, state="done")}
    door.call("POST", "/api/windows/reopen", {"ids": [first]})
    assert first in {one["id"] for one in windows(door, limit=200)}
    door.call("POST", "/api/windows/assign", {"ids": [second], "name": None})
    assert door.call("GET", "/api/clips")["total"] == 1
    assert door.ask("POST", "/api/windows/skip", {"ids": [10**6]})[1]["code"] == "window-unknown"


def test_the_gallery_is_changed_and_every_change_undone(door: Served) -> None:
    before = door.call("GET", "/api/clips?name=red%20light")["items"]
    gallery = door.studio.recognizer.gallery
    gallery.keep_limits([ClassLimit("red light", 1.5, "a key", "graphs", "2026-01-01T00:00:00+00:00", {})])
    limits = gallery.limits()
    steps: list[tuple[str, dict[str, Any], dict[str, int]]] = [
        ("classes/rename", {"old": "red light", "new": "scarlet"}, {"green light": 2, "scarlet": 2}),
        ("classes/merge", {"source": "green light", "target": "scarlet"}, {"scarlet": 4}),
        ("clips/move", {"ids": [before[0]["id"]], "name": "lamp"}, {"lamp": 1, "scarlet": 3}),
        ("clips/remove", {"name": "scarlet", "id": before[1]["id"]}, {"lamp": 1, "scarlet": 2}),
        ("classes/remove", {"name": "scarlet"}, {"lamp": 1}),
    ]
    for path, body, after in steps:
        door.call("POST", f"/api/{path}", body)
        assert names(door) == after
    assert [one["kind"] for one in door.call("GET", "/api/changes")] == [
        "remove", "remove-clip", "move", "merge", "rename"
    ]  # fmt: skip
    for _ in steps:
        door.call("POST", "/api/undo")
    assert names(door) == {"green light": 2, "red light": 2}
    assert door.call("GET", "/api/clips?name=red%20light")["items"] == before
    assert gallery.limits() == limits
    gallery.keep_limits([])
    for path, body, code in [
        ("classes/rename", {"old": "none", "new": "x"}, "class-unknown"),
        ("classes/rename", {"old": "red light", "new": "green light"}, "class-exists"),
        ("classes/rename", {"old": "red light", "new": "unknown"}, "name-invalid"),
        ("classes/merge", {"source": "red light", "target": "red light"}, "class-exists"),
        ("clips/move", {"ids": [999], "name": "x"}, "clip-unknown"),
    ]:
        assert door.ask("POST", f"/api/{path}", body)[1]["code"] == code
    assert not door.call("GET", "/api/changes")  # what was refused cannot be undone


def test_a_gallery_leaves_and_comes_back(door: Served) -> None:
    file = door.call("GET", "/api/gallery/export")
    door.call("POST", "/api/classes/remove", {"name": "red light"})
    done = door.call("POST", "/api/gallery/import", raw=file, content_type="application/zip")
    assert (done["added"], done["skipped"]) == (2, 2)
    assert names(door) == {"green light": 2, "red light": 2}
    door.call("POST", "/api/undo")
    assert names(door) == {"green light": 2}
    status, refused = door.ask("POST", "/api/gallery/import", raw=b"no zip", content_type="application/zip")
    assert (status, refused["code"]) == (400, "import-corrupt")
    assert "/tmp" not in refused["message"]


def test_files_are_read_in_a_process_of_their_own(door: Served, colours: dict[str, Path]) -> None:
    take = door.call(
        "POST", "/api/takes/upload?name=../a.mp4", raw=colours["red"].read_bytes(), content_type="video/mp4"
    )
    assert (take["source"], take["frames"], take["answer"]["label"]) == ("a.mp4", 20, "red light")
    playlist = b"#EXTM3U\n#EXTINF:1\nfile:///etc/passwd\n"
    for data, kind, status, code in [
        (playlist, "video/mp4", 400, "clip-unreadable"),
        (b"x", "text/html", 400, "upload-invalid"),
        (b"", "video/mp4", 400, "clip-unreadable"),
    ]:
        found = door.ask("POST", "/api/takes/upload?name=x", raw=data, content_type=kind)
        assert (found[0], found[1]["code"]) == (status, code)
        assert "/tmp" not in found[1]["message"]
    status, found = door.ask("POST", "/api/undo", raw=b"x", content_type="application/json", Content_Length="2000000")
    assert (status, found["code"]) == (413, "upload-too-large")


def test_a_decoder_that_hangs_or_dies_is_said(colours: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from maclip_runtime.errors import MaclipError

    monkeypatch.setattr(decoding, "MAX_SECONDS", 0.01)
    with pytest.raises(MaclipError, match="takes longer"):
        decoding.decode_upload(colours["red"], "a.mp4")
    monkeypatch.undo()
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(MaclipError, match="cannot be decoded"):
        decoding.decode_upload(colours["red"], "a.mp4")


def test_a_region_counts_at_once_and_after_a_restart(
    bundle: Path, enrolled: Path, tmp_path: Path, colours: dict[str, Path]
) -> None:
    with serving(bundle, enrolled, [("door", colours["red"])]) as served:
        wait_for(lambda: served.answer("door") == "red light")
        region = {"x": 0.5, "y": 0.0, "width": 0.5, "height": 1.0}
        served.call("PUT", "/api/source/region?source=door", region)
        assert served.source("door")["region"] == region
        wait_for(lambda: served.answer("door") == "red light")
        assert served.ask("PUT", "/api/source/region?source=none", region)[1]["code"] == "source-unknown"
        too_far = {**region, "x": 0.9}
        assert served.ask("PUT", "/api/source/region?source=door", too_far)[1]["code"] == "roi-invalid"
    with serving(bundle, enrolled, [("door", colours["red"])]) as served:
        assert served.studio.region("door") == Roi(0.5, 0.0, 0.5, 1.0)
        served.call("PUT", "/api/source/region?source=door")
        assert served.studio.region("door") is None


def test_events_have_their_evidence_and_nothing_else_is_opened(
    bundle: Path, enrolled: Path, tmp_path: Path, colours: dict[str, Path]
) -> None:
    two = color_video(tmp_path / "two.mp4", [("red", 1.5), ("green", 1.5)])
    with serving(bundle, enrolled, [("door", two)], evidence=tmp_path / "evidence") as served:
        event = wait_for(lambda: [e for e in served.call("GET", "/api/events")["items"] if e["kind"] == "end"])[0]
        path = f"/api/events/{event['id']}/strip.jpg"
        strip = wait_for(lambda: served.ask("GET", path)[1] if served.ask("GET", path)[0] == 200 else None)
        assert Image.open(io.BytesIO(strip)).height == 120
        assert served.call("GET", f"/api/events/{event['id']}/clip.mp4")[4:8] == b"ftyp"
        assert served.call("GET", f"/api/events/{event['id']}/why")["now"]["label"] == event["label"]
        for bad, code in [
            (f"/api/events/{'f' * 16}/strip.jpg", "evidence-missing"),
            ("/api/events/..%2f..%2fpasswd/strip.jpg", "no-such-thing"),
            (f"/api/events/{'F' * 16}/clip.mp4", "request-invalid"),
            ("/page/../app.py", "no-such-thing"),
            ("/page/%2e%2e/app.py", "no-such-thing"),
        ]:
            assert served.ask("GET", bad)[1]["code"] == code, bad


def test_the_doctor_and_a_calibration_run_beside_the_watch(door: Served) -> None:
    door.call("POST", "/api/doctor")
    found = wait_for(lambda: (job := door.call("GET", "/api/doctor"))["state"] == "done" and job["result"])
    assert found["tested"] == 4
    door.call("POST", "/api/calibrate", {"sources": ["door"], "seconds": 1.0})
    assert door.ask("POST", "/api/calibrate", {"sources": ["door"], "seconds": 1.0})[1]["code"] == "job-running"
    done = wait_for(lambda: (said := door.call("GET", "/api/calibrate"))["job"]["state"] != "running" and said)
    assert done["job"]["error"] is None
    assert done["calibrated"] == ["green light", "red light"]
    assert {len(one["own"]) for one in done["job"]["result"]["classes"]} == {2}
    assert done["job"]["result"]["hours"] > 0
    door.call("POST", "/api/undo")
    assert door.call("GET", "/api/calibrate")["calibrated"] == []
    health = door.call("GET", "/api/health")
    assert (health["device"], health["gallery"]["clips"]) == ("cpu", 4)
    assert set(health["stages"]) >= {"visual", "match", "decide"}


def test_names_are_suggested_classes_first(door: Served) -> None:
    found = door.call("GET", "/api/names?q=light")
    assert [(one["name"], one["enrolled"]) for one in found] == [
        ("green light", True), ("red light", True), ("blue light", False)
    ]  # fmt: skip


def test_a_path_keeps_the_order_of_frames() -> None:
    apart = np.ones((4, 4), np.float32)
    for query, support in [(1, 0), (1, 1), (2, 2), (3, 3)]:
        apart[query, support] = 0.1
    assert path_of(apart, "otam") == [(1, 0), (1, 1), (2, 2), (3, 3)]
    assert path_of(apart, "bimhm") == [(0, 0), (1, 0), (2, 2), (3, 3)]
