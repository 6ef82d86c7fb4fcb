"""Each source of a watch has a name of its own, and files are opened when their turn comes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from videos import color_video

from maclip_runtime import Callbacks, Recognizer
from maclip_runtime.errors import MaclipError
from maclip_runtime.overlay import Overlay
from maclip_runtime.sources import Frame, Roi, SequentialSource, SourceOptions, SourceStatus, split_name
from maclip_runtime.streaming.watch import MAX_OPEN_FILES

PARTS = [SourceOptions(roi=Roi(0, 0, 0.5, 1)), SourceOptions(roi=Roi(0.5, 0, 0.5, 1))]


class Names(Callbacks):
    """The names that each kind of call came with."""

    def __init__(self) -> None:
        self.frames: Counter[str] = Counter()
        self.statuses: set[str] = set()

    def frame(self, source: str, frame: Frame) -> None:
        self.frames[source] += 1

    def status(self, status: SourceStatus) -> None:
        self.statuses.add(status.name)


def test_two_parts_of_one_source_stay_apart_everywhere(bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    clip = str(color_video(tmp_path / "v.mp4", [("red", 3.0)]))
    names = Names()
    both = [clip, f"{clip} (2)"]
    with Recognizer.open(bundle, enrolled) as recognizer, Overlay(tmp_path / "out.mp4", [clip, clip]) as overlay:
        events = list(recognizer.watch([clip, clip], window_s=1.0, options=PARTS, callbacks=[names, overlay]))
    assert {event.source for event in events} == set(both)
    assert names.frames == dict.fromkeys(both, 30)
    assert names.statuses == set(both)
    assert (tmp_path / "out.mp4").exists()
    assert (tmp_path / "out-2.mp4").exists()


def test_names_that_were_given_are_used_and_must_differ(bundle: Path, enrolled: Path, clips: Path) -> None:
    options = [SourceOptions(name="door"), SourceOptions(name="gate")]
    with Recognizer.open(bundle, enrolled) as recognizer:
        events = recognizer.watch([clips / "red1.mp4"] * 2, options=options)
        assert {event.source for event in events} == {"door", "gate"}
        with pytest.raises(MaclipError, match="Two sources are called 'door'") as caught:
            recognizer.watch([clips / "red1.mp4", clips / "red2.mp4"], options=[options[0]] * 2)
    assert caught.value.code == "option-invalid"


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 300])
def test_a_name_is_a_line_of_text(name: str) -> None:
    with pytest.raises(MaclipError) as caught:
        SourceOptions(name=name)
    assert caught.value.code == "option-invalid"


def test_a_name_before_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert split_name("door=rtsp://me:a=b@cam/1") == ("door", "rtsp://me:a=b@cam/1")
    assert split_name("back door=0") == ("back door", "0")
    for whole in ("rtsp://cam/1?channel=2", "clips/a=b.mp4", "=0", "0", "/dev/video0"):
        assert split_name(whole) == (None, whole)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.mp4").touch()
    assert split_name("a=b.mp4") == (None, "a=b.mp4")


def test_many_files_are_open_a_few_at_a_time(
    bundle: Path, enrolled: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that is broken costs itself: the others are answered, and its error comes at the end."""
    opened, most = 0, 0
    close, read = SequentialSource.close, SequentialSource.read

    def counted(self: SequentialSource, timeout_s: float | None = None) -> Frame | None:
        nonlocal opened, most
        if self.status.frames == 0 and not getattr(self, "counted", False):
            self.counted = True  # type: ignore[attr-defined]
            opened += 1
            most = max(most, opened)
        return read(self, timeout_s)

    def closed(self: SequentialSource) -> None:
        nonlocal opened
        opened -= getattr(self, "counted", False)
        self.counted = False  # type: ignore[attr-defined]
        close(self)

    monkeypatch.setattr(SequentialSource, "read", counted)
    monkeypatch.setattr(SequentialSource, "close", closed)
    files: list[Path] = [clips / "red1.mp4"] * 30
    files.insert(3, clips / "none.mp4")
    seen: list[str] = []
    with Recognizer.open(bundle, enrolled) as recognizer, pytest.raises(MaclipError, match=r"none\.mp4") as caught:
        seen.extend(event.source for event in recognizer.watch(files))
    assert caught.value.code == "clip-unreadable"
    assert len(set(seen)) == 30
    assert 0 < most <= MAX_OPEN_FILES < 30
    assert opened == 0
