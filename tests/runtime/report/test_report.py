"""A report is one HTML file with everything in it, whatever sources and actions are called."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from videos import color_video

from maclip_runtime import Recognizer, SourceOptions
from maclip_runtime.errors import MaclipError
from maclip_runtime.report import Report, collecting


class Reader(HTMLParser):
    """Counts tags, and keeps what could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [str(value) for name, value in attrs if name in ("src", "href")]


def test_a_report_shows_events_with_strips_and_loads_nothing(bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    video = color_video(tmp_path / "long.mp4", [("red", 2.0), ("blue", 2.0), ("green", 2.0)])
    with Recognizer.open(bundle, enrolled, device="cpu") as recognizer:
        recognizer.rename("red light", "<script>alert(1)</script>")
        with Report(tmp_path / "out.html") as report:
            options = SourceOptions(name="a <b> & c")
            events = list(recognizer.watch(video, window_s=1.0, callbacks=[report], options=options))
    text = (tmp_path / "out.html").read_text()
    reader = Reader()
    reader.feed(text)
    assert "script" not in reader.tags
    assert all(load.startswith("data:image/jpeg;base64,") for load in reader.loads)
    actions = [event for event in events if event.kind == "end" and not event.reason]
    assert reader.tags.count("article") == reader.tags.count("img") == len(actions) == 2
    assert reader.tags.count("circle") == sum(1 for _ in report.sources["a <b> & c"].answers) > 10
    strip = Image.open(io.BytesIO(base64.b64decode(reader.loads[0].partition(",")[2])))
    assert strip.height == 96
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert re.search(r"<td>match</td><td>\d", text)
    assert not list(tmp_path.glob("*.part"))


def test_a_long_watch_stays_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from maclip_runtime.decisions import Event, Verdict

    monkeypatch.setattr(collecting, "MAX_ANSWERS", 100)
    monkeypatch.setattr(collecting, "MAX_EVENTS", 10)
    report = Report(tmp_path / "out.html")
    for number in range(1000):
        report.verdict("door", Verdict("a", "a", 0.9, 1.0, 0.5, match=0.8), number, number + 1)
        report.event(Event("end", "a", 0.9, 0.5, number, number + 1, "door", id=f"{number:016x}"))
    record = report.sources["door"]
    assert 50 <= len(record.answers) <= 101
    assert [event.start_s for event in record.events.values()] == list(range(990, 1000))
    report.close()
    assert (tmp_path / "out.html").stat().st_size < 100_000


def test_a_report_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "out.html"):
        with pytest.raises(MaclipError) as caught:
            Report(path)
        assert caught.value.code == "output-unwritable"
