"""Evidence: files for each event, with pre-roll, within limits; a bad disk costs evidence, never events."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from videos import color_frames, color_video

from maclip_runtime import Evidence, EvidenceOptions, Recognizer
from maclip_runtime.errors import MaclipError
from maclip_runtime.evidence import folder as folder_module
from maclip_runtime.evidence.folder import EvidenceFolder
from maclip_runtime.evidence.shots import Shot, Still, encode


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of blue, four of red, four of green."""
    parts = [("blue", 4.0), ("red", 4.0), ("green", 4.0)]
    return color_video(tmp_path_factory.mktemp("video") / "long.mp4", parts)


def colours(path: Path) -> list[str]:
    """The main colour of each frame of a clip."""
    with av.open(str(path)) as container:
        means = [frame.to_ndarray(format="rgb24").mean(axis=(0, 1)) for frame in container.decode(video=0)]
    return [("red", "green", "blue")[int(mean.argmax())] for mean in means]


def test_an_event_has_a_strip_and_a_clip_with_what_came_before(
    bundle: Path, enrolled: Path, video: Path, tmp_path: Path
) -> None:
    with Recognizer.open(bundle, enrolled, device="cpu") as recognizer, Evidence(tmp_path / "kept") as evidence:
        events = list(recognizer.watch(video, window_s=1.0, evidence=evidence))
    ends = {event.label: event for event in events if event.kind == "end"}
    red = ends["red light"]
    assert (red.strip, red.clip) == (f"{red.id}.jpg", f"{red.id}.mp4")
    assert all(event.strip for event in events)
    assert sorted(path.stem for path in (tmp_path / "kept").iterdir()) == sorted(2 * [one.id for one in ends.values()])
    seen = colours(tmp_path / "kept" / f"{red.id}.mp4")
    assert [seen.count(colour) for colour in ("blue", "red", "green")] == pytest.approx([16, 32, 8], abs=3)
    assert seen == sorted(seen, key=["blue", "red", "green"].index)
    with Image.open(tmp_path / "kept" / f"{red.id}.jpg") as strip:
        assert strip.size == (8 * 160, 120)
    assert (evidence.delivered, evidence.dropped) == (len(ends), 0)


def test_a_long_action_keeps_its_beginning(bundle: Path, enrolled: Path, video: Path, tmp_path: Path) -> None:
    options = EvidenceOptions(pre_s=0.5, max_s=1.0, rate=5)
    with Recognizer.open(bundle, enrolled, device="cpu") as recognizer, Evidence(tmp_path, options) as evidence:
        events = list(recognizer.watch(video, window_s=1.0, evidence=evidence))
    red = next(event for event in events if event.label == "red light")
    seen = colours(tmp_path / str(red.clip))
    assert (len(seen), seen[0], seen[-1]) == (6, "blue", "red")


def test_pushed_frames_have_evidence_too(bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    with Recognizer.open(bundle, enrolled, device="cpu") as recognizer, Evidence(tmp_path) as evidence:
        with recognizer.stream(window_s=1.0, name="arm", evidence=evidence) as stream:
            events = [e for at, one in enumerate(color_frames("red", 30)) for e in stream.push(one, at / 10)]
        events += stream.end()
    assert [event.kind for event in events if event.kind != "update"] == ["start", "end"]
    assert (tmp_path / str(events[-1].clip)).is_file()


def test_a_full_disk_drops_evidence_and_never_events(
    bundle: Path, enrolled: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folder_module, "_strip", full)
    with Recognizer.open(bundle, enrolled, device="cpu") as recognizer:
        plain = list(recognizer.watch(video, window_s=1.0))
        with Evidence(tmp_path / "kept") as evidence:
            assert list(recognizer.watch(video, window_s=1.0, evidence=evidence)) == plain
            evidence.close()
    assert (evidence.delivered, evidence.dropped) == (0, 3)
    assert not list((tmp_path / "kept").iterdir())  # nothing half written
    assert evidence.linked(plain[0]).strip is None


def test_the_oldest_evidence_goes_first_and_other_files_never(tmp_path: Path) -> None:
    for age, name in enumerate(["c" * 16, "b" * 16, "a" * 16]):
        for kind in (".jpg", ".mp4"):
            path = tmp_path / (name + kind)
            path.write_bytes(bytes(100))
            os.utime(path, (path.stat().st_mtime - 86400 * age,) * 2)
    (tmp_path / "notes.jpg").write_bytes(bytes(1000))
    EvidenceFolder(tmp_path, EvidenceOptions(max_days=1.5))
    assert {path.stem for path in tmp_path.iterdir()} == {"c" * 16, "b" * 16, "notes"}
    kept = EvidenceFolder(tmp_path, EvidenceOptions(max_bytes=399))
    assert {path.stem for path in tmp_path.iterdir()} == {"c" * 16, "notes"}
    assert kept.find("c" * 16 + ".mp4") == tmp_path / ("c" * 16 + ".mp4")
    for name in ("notes.jpg", "../" + "c" * 16 + ".jpg", "b" * 16 + ".jpg", ""):
        assert kept.find(name) is None


def test_a_strip_is_made_of_what_there_is(tmp_path: Path) -> None:
    pixels = np.full((24, 32, 3), 200, np.uint8)
    stills = [Still(at / 10, encode(pixels, 32)) for at in range(3)]
    EvidenceFolder(tmp_path, EvidenceOptions()).write(Shot("a" * 16, 9.0, stills))  # it began after its last frame
    strip = Image.open(tmp_path / ("a" * 16 + ".jpg"))
    assert strip.width >= 3 * strip.height  # of three frames that are wider than high


def test_evidence_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MaclipError, match="cannot be kept") as caught:
        Evidence(tmp_path / "file")
    assert caught.value.code == "output-unwritable"
    for wrong in ({"pre_s": -1}, {"max_s": 0}, {"rate": 1000}, {"side": 0}, {"max_bytes": 0}, {"max_days": 0}):
        with pytest.raises(MaclipError) as caught:
            EvidenceOptions(**wrong)  # type: ignore[arg-type]
        assert caught.value.code == "option-invalid"


def test_the_command_keeps_evidence(bundle: Path, enrolled: Path, video: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "maclip_cli.device", "recognize", str(video), "--window", "1", "--json"]
    command += [
        "--bundle",
        str(bundle),
        "--gallery",
        str(enrolled),
        "--device",
        "cpu",
        "--evidence",
        str(tmp_path / "e"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    for event in map(json.loads, done.stdout.splitlines()):
        assert (tmp_path / "e" / event["strip"]).is_file()
        assert (tmp_path / "e" / event["clip"]).is_file()
