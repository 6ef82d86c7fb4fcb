"""`maclip demo` in miniature: few classes, few clips, few episodes, through the same code."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

pytest.importorskip("open_clip")
pytest.importorskip("onnxscript")

from PIL import Image

import maclip
from maclip.config import ModelConfig, TrainConfig
from maclip.evaluation.evaluator import Result
from maclip.runs import Run
from maclip.segments import Segment
from maclip.shipped import ADAPTERS_ONLY, FULL, LADDER, PROTOTYPE_ONLY, SHIPPED, read_card, shipped_run
from maclip.world import synth
from maclip.world.classes import ActionClass, Family
from maclip.world.classes import classes as all_classes
from maclip_cli.demo import study
from maclip_cli.demo.charts import accuracy_panel, confusion_picture, curve_panel, worst_confusions
from maclip_cli.demo.device_part import Stretch, Timeline, Told
from maclip_cli.demo.director import run_demo
from maclip_cli.demo.folder import MARKER, DemoFolder
from maclip_cli.demo.machine import machine_rows
from maclip_cli.demo.plan import BRIEF_PARTS, DEMO, FROZEN, ROWS, BriefPlan, DevicePlan, Plan
from maclip_cli.demo.rows import Difference, RowOutcome, Validation
from maclip_cli.demo.study import PROCESSES, _require_alive
from maclip_cli.demo.svg import text
from maclip_cli.demo.timeline import class_numbers, timeline_picture
from maclip_cli.demo.watched import HEIGHT, MAX_ANIMATION_BYTES, WIDTH, moment
from maclip_cli.demo.words import gain
from maclip_runtime.decisions import Event
from maclip_runtime.errors import MaclipError

pytestmark = pytest.mark.long  # the demo itself, which they all look at

ENROLLED = ("moving a shape from right to left", "a shape shrinking")
STRANGER = "covering a shape with another"
FEW: dict[str, int] = {"train": 5, "val": 5, "test": 5}


def few_classes(family: Family, split_seed: int | None = None, *, composed: bool = True) -> list[ActionClass]:
    every = all_classes(family, split_seed, composed=composed)
    wanted = [one for one in every if one.name in (*ENROLLED, STRANGER)]
    for split, count in FEW.items():
        there = sum(one.split == split for one in wanted)
        wanted += [one for one in every if one.split == split and one not in wanted][: count - there]
    return wanted


def few_trainings() -> tuple[BriefPlan, ...]:
    few = TrainConfig.of(way=4, accumulate=1, views=1, validations=1)
    model = ModelConfig.of(open_set_weight=0.5)
    adapted = model.changed(adapters="blocks", adapted_depth=1)
    joint = few.changed(prototype_episodes=0, episodes=2)
    return (
        BriefPlan(PROTOTYPE_ONLY, model.changed(adapters="none"), few.changed(prototype_episodes=4, episodes=0)),
        BriefPlan(FULL, adapted, joint, init=PROTOTYPE_ONLY),
        BriefPlan(ADAPTERS_ONLY, adapted.changed(prototype="none"), joint),
    )


MINIATURE = Plan(
    brief=few_trainings(),
    device=DevicePlan(ENROLLED, (*ENROLLED, STRANGER), clips=2, latency_repeats=2),
    clips={"train": 2, "val": 2, "test": 3},
    shots=(1, 2),
    episodes=20,
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoFolder]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synth, "classes", few_classes)
        # One process: each takes seconds to import torch.
        patch.setattr("os.cpu_count", lambda: 1)
        patch.setattr(study, "PROCESSES", {"first": tuple(name for rows in PROCESSES.values() for name in rows)})
        yield run_demo(tmp_path_factory.mktemp("demo") / "demo", MINIATURE)


def test_the_demo_leaves_what_it_promises(demo: DemoFolder) -> None:
    left = {path.name for path in demo.root.iterdir() if not path.name.startswith(".")}
    files = {"gallery.db", "report.html", "results.json", "watched.mp4", "watched.webp"}
    assert {"clips", "run", "runs", "bundle", *files} <= left
    assert {path.name for path in demo.runs.iterdir()} == set(BRIEF_PARTS)


def test_the_exported_run_is_the_shipped_one(demo: DemoFolder) -> None:
    exported = shipped_run(read_card()["exported"])
    assert Run.open(demo.run).adapters_sha256 == Run.open(exported).adapters_sha256
    assert maclip.load(demo.run).prototype is not None


def test_no_run_is_called_adapted_unless_its_adapters_are_trained(demo: DemoFolder, tmp_path: Path) -> None:
    for part in (ADAPTERS_ONLY, FULL):
        Run.open(demo.brief_run(part)).require_trained_adapters()
    for part in (ADAPTERS_ONLY, FULL, LADDER):
        Run.open(shipped_run(part)).require_trained_adapters()
    with pytest.raises(MaclipError, match="no adapters"):
        Run.open(demo.brief_run(PROTOTYPE_ONLY)).require_trained_adapters()
    untrained = tmp_path / "untrained"
    shutil.copytree(demo.brief_run(FULL), untrained)
    from safetensors.torch import load_file, save_file

    state = load_file(untrained / "adapters.safetensors")
    key = next(key for key in state if key.endswith("temporal.up.weight"))
    save_file(state | {key: state[key] * 0}, untrained / "adapters.safetensors")
    with pytest.raises(MaclipError, match=re.escape(key)) as refused:
        Run.open(untrained).require_trained_adapters()
    assert refused.value.code == "adapters-untrained"


def test_results_have_the_agreed_form(demo: DemoFolder) -> None:
    results = json.loads(demo.results.read_text())
    assert list(results["accuracy"]) == list(ROWS)
    for row in results["accuracy"].values():
        for shot in ("1-shot", "2-shot"):
            assert 0 <= row[shot]["accuracy"] <= 1
            assert 0 <= row[shot]["interval"] <= 0.5
    first = results["differences"][0]
    a, b = (results["accuracy"][first[key]]["1-shot"]["accuracy"] for key in ("row", "than"))
    assert first["accuracy"] == pytest.approx(a - b)
    assert results["device"]["video"]["actions"] == 3
    assert {row for rows in PROCESSES.values() for row in rows} == set(ROWS)


def test_the_report_asks_for_nothing_from_outside(demo: DemoFolder) -> None:
    report = demo.report.read_text()
    addresses = re.findall(r"""(?:src|href|srcset|action|data|poster)\s*=\s*["']([^"']*)""", report)
    assert len(addresses) == 2 + 8 * 6  # the video with its poster, and film strips
    assert sum(address.startswith("data:video/mp4;base64,") for address in addresses) == 1
    assert all(address.startswith(("data:image/jpeg;base64,", "data:video/mp4;base64,")) for address in addresses)
    assert not re.findall(r"@import|url\(|<script|<link|<iframe", report)


def test_the_report_begins_with_the_video_and_shows_every_chart(demo: DemoFolder) -> None:
    report = demo.report.read_text()
    assert report.index("<video") < report.index("<svg") < report.index("<img")
    pictures = re.findall(r"<svg.*?</svg>", report, flags=re.DOTALL)
    assert len(pictures) == 1 + 4 + 1 + 1  # timeline, accuracy, learning, confusion
    for picture in pictures:
        ElementTree.fromstring(picture)
    timeline = next(picture for picture in pictures if "Timeline:" in picture)
    for name in (*ENROLLED, STRANGER):
        assert name in timeline
    assert f"{STRANGER} (not enrolled)" in timeline
    truth = json.loads((demo.clips / "long.json").read_text())
    assert [one["name"] for one in truth] == list(MINIATURE.device.video)


def test_the_watched_video_is_as_long_as_the_video_and_the_animation_is_small(demo: DemoFolder) -> None:
    from maclip_runtime.reading.clip import read_clip
    from maclip_runtime.reading.frames import segment_indices

    first = read_clip(demo.watched, lambda total: segment_indices(total, frames=1))
    assert first.frames.shape[1:] == (HEIGHT, WIDTH, 3)
    long = read_clip(demo.video, lambda total: segment_indices(total, frames=1))
    assert first.duration_s == pytest.approx(long.duration_s, abs=0.1)
    with Image.open(demo.animation) as animation:
        assert animation.size == (WIDTH, HEIGHT)
        assert getattr(animation, "n_frames", 1) > 10
    assert demo.animation.stat().st_size <= MAX_ANIMATION_BYTES


def test_the_demo_enrolls_and_shows_only_classes_that_training_never_saw() -> None:
    unseen = {one.name for one in all_classes("motion") if one.split == "test"}
    assert {*DEMO.device.enrolled, *DEMO.device.video} <= unseen
    assert set(DEMO.device.video) - set(DEMO.device.enrolled)
    for part in SHIPPED:
        assert not unseen & set(Run.open(shipped_run(part)).config.taught)


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "results.json").write_text('{"mine": 1}')
    with pytest.raises(MaclipError) as refused:
        DemoFolder(tmp_path).begin()
    assert refused.value.code == "output-exists"
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.txt", "results.json"}


def test_an_earlier_demo_is_replaced_even_an_interrupted_one(tmp_path: Path) -> None:
    folder = DemoFolder(tmp_path)
    folder.begin()
    (folder.clips / "motion").mkdir(parents=True)
    folder.report.write_text("old")
    folder.watched.write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    folder.begin()
    assert {path.name for path in tmp_path.iterdir()} == {MARKER, "notes.txt"}


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MaclipError) as refused:
        DemoFolder(tmp_path / "file" / "demo").begin()
    assert refused.value.code == "output-unwritable"
    with pytest.raises(MaclipError) as refused:
        DemoFolder(tmp_path / "file").begin()
    assert refused.value.code == "output-exists"


def timeline(segments: tuple[Segment, ...], stretches: tuple[Stretch, ...], seconds: float = 10.0) -> Timeline:
    return Timeline(("waving",), segments, stretches, seconds, 1.0)


def test_a_timeline_is_judged_by_the_longest_overlap() -> None:
    segments = (Segment("waving", 1, 3), Segment("falling", 4, 6), Segment("waving", 7, 9))
    shown = timeline(segments, (Stretch("waving", 0.9, 0.5, 3), Stretch("unknown", 0.5, 3, 7)))
    assert [shown.answer_for(s) for s in segments] == ["waving", "unknown", "unknown"]
    assert shown.right() == 2
    assert shown.false_alarms() == []
    assert len(timeline(segments, (Stretch("waving", 0.9, 4, 6),)).false_alarms()) == 1


def test_a_picture_shows_only_what_was_told_by_then() -> None:
    began = Event("start", "waving", 0.9, 0.5, 1.0, 1.5, "video", id="a")
    ended = Event("end", "waving", 0.9, 0.5, 1.0, 3.0, "video", id="a")
    shown = Timeline(("waving",), (), (), 10.0, 1.0, (Told(began, 2.0), Told(ended, 4.0)))
    assert moment(shown, 1.9).now == ""
    assert moment(shown, 2.5) == moment(shown, 2.5).__class__("waving", (("waving", 1.0, 2.5),))
    assert moment(shown, 4.0).now == "unknown"
    assert moment(shown, 9.0).spans == (("waving", 1.0, 3.0),)


@pytest.mark.parametrize("seconds", [0.0, 3.0, 60.0])
def test_a_timeline_of_nothing_is_a_picture(seconds: float) -> None:
    shown = timeline((), (), seconds)
    assert class_numbers(shown) == {"waving": 1}
    ElementTree.fromstring(timeline_picture(shown))


def test_a_timeline_in_which_nothing_was_recognised_is_a_picture() -> None:
    picture = timeline_picture(timeline((Segment("fall & rise", 1, 3),), ()))
    assert "0 of 1" in picture or "1 of 1" in picture
    ElementTree.fromstring(picture)


def one_class() -> Result:
    return Result(1, 1, 3, 0, 1.0, 0.0, 0.0, {"0": 1.0, "1": 1.0}, ("a <b>",), ((3,),))


def test_charts_of_one_class_or_none() -> None:
    ElementTree.fromstring(confusion_picture(one_class()))
    assert worst_confusions(one_class()) == []
    none = Result(1, 1, 0, 0, 0.0, 0.0, 0.0, {}, (), ())
    ElementTree.fromstring(confusion_picture(none))
    never_asked = Result(2, 1, 0, 0, 0.0, 0.0, 0.0, {}, ("a", "b"), ((0, 0), (0, 0)))
    ElementTree.fromstring(confusion_picture(never_asked))
    ElementTree.fromstring(accuracy_panel({}, 0.2, "nothing"))
    ElementTree.fromstring(accuracy_panel({FROZEN: one_class()}, 0.2, "one"))


def test_curves_of_nothing_trained_and_of_one_validation() -> None:
    frozen = RowOutcome(FROZEN, {1: one_class()}, 0.3)
    ElementTree.fromstring(curve_panel({FROZEN: frozen}, {}, 0.2))
    alone = RowOutcome("brief-prototype-only", {1: one_class()}, 0.5, (Validation("prototype", 10, 0.5, 0.1),), 1.0)
    full = RowOutcome("brief-full", {1: one_class()}, 0.5, (Validation("joint", 2, 0.5, 0.1),), 1.0)
    rows = {one.name: one for one in (frozen, alone, full)}
    picture = curve_panel(rows, {"brief-full": "brief-prototype-only"}, 0.2)
    ElementTree.fromstring(picture)
    assert "full (both), episode 12:" in picture  # it goes on from TPCM's ten


def test_words_do_not_flatter() -> None:
    assert gain(Difference("a", "b", 1, 0.2, 0.01)) == "+20.0 ± 1.0"
    assert gain(Difference("a", "b", 1, -0.2, 0.01)) == "-20.0 ± 1.0"
    assert gain(Difference("a", "b", 1, 0.01, 0.02)).endswith("(?)")


def test_words_in_pictures_are_escaped() -> None:
    assert "&lt;b&gt;" in text(0, 0, "<b>")


def test_machine_rows_name_no_place() -> None:
    assert not any("/" in value and str(Path.home()) in value for value in machine_rows().values())
    assert machine_rows()["Cores"]


def test_a_process_that_was_killed_ends_the_demo() -> None:
    alive, done, killed = (SimpleNamespace(exitcode=code) for code in (None, 0, -9))
    _require_alive({"first": alive, "second": done})  # type: ignore[dict-item]
    with pytest.raises(MaclipError, match="second") as caught:
        _require_alive({"first": alive, "second": killed})  # type: ignore[dict-item]
    assert (caught.value.code, caught.value.exit_code) == ("demo-failed", 1)
