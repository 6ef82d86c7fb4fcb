"""The page of `maclip eval --report` shows what the record holds, and nothing that a name could smuggle in."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from videos import color_video

from maclip.data.dataset import ActionClass, Dataset
from maclip.evaluation.evaluator import Result
from maclip.evaluation.record import RECORD_FORMAT, Record
from maclip.evaluation.streams.record import STREAM_RECORD_FORMAT, STREAMS, GalleryScores, StreamRecord, summarise
from maclip_cli.workstation.evaluate_streams import TITLES, figures_in_words
from maclip_cli.workstation.evaluation_report import page_of_episodes, page_of_streams, write_report
from maclip_runtime import MaclipError

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three classes; the clip of the last cannot be read."""
    folder = tmp_path_factory.mktemp("report")
    for name in ("red", "green"):
        color_video(folder / f"{name}.mp4", [(name, 1.0)])
    (folder / "blue.mp4").write_bytes(b"no video")
    names = {"red": "red", "green": EVIL, "blue": "blue"}
    return Dataset(
        folder, tuple(ActionClass(name, "test", True, (folder / f"{file}.mp4",)) for file, name in names.items())
    )


@pytest.fixture
def record(data: Dataset) -> Record:
    names = tuple(one.name for one in data.classes)
    result = Result(
        way=3, shot=1, queries=1, episodes=10, seed=0, fusion_weight=0.1, accuracy=0.8, interval=0.1,
        by_episode=(2,) * 6 + (3,) * 4, by_fusion_weight={"0": 0.7, "1": 0.5}, names=names,
        confusion=((7, 3, 0), (1, 8, 1), (0, 0, 10)),
    )  # fmt: skip
    by_class = dict(zip(names, (0.7, 0.8, 1.0), strict=True))
    return Record(RECORD_FORMAT, "0", "run", None, str(data.root), "test", "0", by_class, result, (), "0", ())


def test_the_page_shows_classes_confusions_and_strips(record: Record, data: Dataset) -> None:
    page = page_of_episodes(record, data)
    assert "3-way 1-shot: 80.0% ± 10.0%" in page
    assert [float(share) for share in re.findall(r'class="bar" style="width:([\d.]+)%', page)] == [70, 80, 100]
    confused = re.findall(r"<b>(.*?)</b>: ([\d.]+)% answered as <b>(.*?)</b>", page)
    assert confused[0][:2] == ("red", "30.0")
    assert len(confused) == 3
    # Two strips for each pair but that with the clip that cannot be read.
    assert page.count('src="data:image/jpeg;base64,') == 5
    assert re.findall(r">(\d+)</td>", page)[:6] == ["70", "30", "10", "80", "10", "100"]


def test_nothing_in_the_page_is_a_script_or_from_elsewhere(record: Record, data: Dataset) -> None:
    page = page_of_episodes(record, data)
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "http" not in page


def test_a_matrix_of_many_classes_is_left_to_the_table(record: Record, data: Dataset) -> None:
    names = tuple(f"class {at}" for at in range(41))
    many = replace(record.result, names=names, confusion=((0,) * 41,) * 41)
    page = page_of_episodes(replace(record, result=many), data)
    assert "--confusion FILE" in page
    assert "<p>None.</p>" in page


def test_the_page_of_streams_has_every_figure_and_gallery(record: Record) -> None:
    one = GalleryScores((EVIL, "red"), 0.5, 10, 8, 0, 6, 0.7, 0.6, 0.8, 12.0, None, 0.9, None, None)
    other = replace(one, f1=0.5, latency_s=1.25, false_alarms=9)
    galleries = (one, other)
    streams = StreamRecord(
        STREAMS, STREAM_RECORD_FORMAT, "0", "run", None, "a.json", "test", None, 2, 3, 0, "own", 1.5, 0.375, "0",
        summarise(galleries), galleries, (), (),
    )  # fmt: skip
    page = page_of_streams(streams, TITLES, figures_in_words(streams))
    for title in TITLES.values():
        assert title in page
    assert "<script" not in page
    assert page.index("9 in 30 min") < page.index("6 in 30 min")  # the hardest gallery first
    assert "1.25 s" in page


def test_a_page_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MaclipError) as caught:
        write_report(tmp_path / "file" / "page.html", "")
    assert caught.value.code == "output-unwritable"
    write_report(tmp_path / "page.html", "whole")
    assert (tmp_path / "page.html").read_text() == "whole"
