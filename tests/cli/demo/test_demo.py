"""`maclip demo` in miniature: few classes, few clips, few episodes, through the same code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

pytest.importorskip("open_clip")
pytest.importorskip("onnxscript")

import maclip
from maclip.config import ModelConfig, TrainConfig
from maclip.evaluation.evaluator import Result
from maclip.segments import Segment
from maclip.world import synth
from maclip.world.classes import ActionClass, Family
from maclip.world.classes import classes as all_classes
from maclip_cli.demo.charts import accuracy_panel, confusion_picture, curve_panel, worst_confusions
from maclip_cli.demo.device_part import Stretch, Timeline
from maclip_cli.demo.director import run_demo
from maclip_cli.demo.folder import MARKER, DemoFolder
from maclip_cli.demo.machine import machine_rows
from maclip_cli.demo.plan import DEMO, FROZEN, FULL, PROTOTYPE_ONLY, DevicePlan, FamilyPlan, Plan, RowPlan
from maclip_cli.demo.rows import Difference, FamilyOutcome, RowOutcome, Validation
from maclip_cli.demo.study import _require_alive
from maclip_cli.demo.svg import text
from maclip_cli.demo.timeline import class_numbers, timeline_picture
from maclip_cli.demo.words import gain
from maclip_runtime.errors import MaclipError

pytestmark = pytest.mark.long  # the demo itself, which they all look at

ENROLLED = ("moving a shape from right to left", "a shape shrinking")
STRANGER = "covering a shape with another"
FEW: dict[str, int] = {"train": 5, "val": 5, "test": 5}


def few_classes(family: Family, split_seed: int | None = None) -> list[ActionClass]:
    every = all_classes(family, split_seed)
    wanted = [one for one in every if one.name in (*ENROLLED, STRANGER)]
    for split, count in FEW.items():
        there = sum(one.split == split for one in wanted)
        wanted += [one for one in every if one.split == split and one not in wanted][: count - there]
    return wanted


def few_rows() -> tuple[RowPlan, ...]:
    few = TrainConfig.of(way=4, prototype_episodes=4, episodes=0, accumulate=2, views=1, validations=2)
    both = TrainConfig.of(way=4, prototype_episodes=2, episodes=2, accumulate=1, views=1, validations=1)
    return (
        RowPlan(FROZEN, ModelConfig.of(adapters="none", prototype="none"), None),
        RowPlan(PROTOTYPE_ONLY, ModelConfig.of(adapters="none"), few),
        RowPlan(FULL, ModelConfig.of(adapted_depth=1), both),
    )


MINIATURE = Plan(
    families=(FamilyPlan("motion", few_rows()), FamilyPlan("object-motion", few_rows())),
    device=DevicePlan(ENROLLED, (*ENROLLED, STRANGER), clips=2, latency_repeats=2),
    clips={"train": 2, "val": 2, "test": 3},
    shots=(1, 2),
    episodes=20,
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoFolder]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synth, "classes", few_classes)
        yield run_demo(tmp_path_factory.mktemp("demo") / "demo", MINIATURE)


def test_the_demo_leaves_what_design_says(demo: DemoFolder) -> None:
    left = {path.name for path in demo.root.iterdir() if not path.name.startswith(".")}
    assert {"clips", "run", "bundle", "gallery.db", "report.html", "results.json"} <= left
    assert {path.name for path in demo.runs.iterdir()} == {
        "motion-prototype-only",
        "object-motion-prototype-only",
        "object-motion-full",
    }
    model = maclip.load(demo.run)
    assert model.adapted_depth == 1
    assert model.prototype is not None


def test_results_have_the_agreed_form(demo: DemoFolder) -> None:
    results = json.loads(demo.results.read_text())
    assert set(results) == {"motion", "object-motion"}
    for family in results.values():
        assert set(family) == {"1-shot", "2-shot"}
        for rows in family.values():
            assert set(rows) == {"frozen", "prototype-only", "full"}
            for row in rows.values():
                assert 0 <= row["accuracy"] <= 1
                assert 0 <= row["interval"] <= 0.5


def test_the_report_asks_for_nothing_from_outside(demo: DemoFolder) -> None:
    report = demo.report.read_text()
    addresses = re.findall(r"""(?:src|href|srcset|action|data)\s*=\s*["']([^"']*)""", report)
    assert len(addresses) > 8 * 6  # film strips and stills
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert not re.findall(r"@import|url\(|<script|<link|<iframe", report)


def test_the_report_shows_the_timeline_and_every_chart(demo: DemoFolder) -> None:
    report = demo.report.read_text()
    pictures = re.findall(r"<svg.*?</svg>", report, flags=re.DOTALL)
    assert len(pictures) == 4 + 2 + 1 + 1  # accuracy, learning, confusion, timeline
    for picture in pictures:
        ElementTree.fromstring(picture)
    timeline = next(picture for picture in pictures if "Timeline:" in picture)
    for name in (*ENROLLED, STRANGER):
        assert name in timeline
    assert f"{STRANGER} (not enrolled)" in timeline
    truth = json.loads((demo.clips / "long.json").read_text())
    assert [one["name"] for one in truth] == list(MINIATURE.device.video)


def test_the_demo_enrolls_and_shows_only_classes_that_training_never_saw() -> None:
    unseen = {one.name for one in all_classes("motion") if one.split == "test"}
    assert {*DEMO.device.enrolled, *DEMO.device.video} <= unseen
    assert set(DEMO.device.video) - set(DEMO.device.enrolled)


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


@pytest.mark.parametrize("seconds", [0.0, 3.0, 60.0])
def test_a_timeline_of_nothing_is_a_picture(seconds: float) -> None:
    shown = timeline((), (), seconds)
    assert class_numbers(shown) == {"waving": 1}
    ElementTree.fromstring(timeline_picture(shown, []))


def test_a_timeline_in_which_nothing_was_recognised_is_a_picture() -> None:
    picture = timeline_picture(timeline((Segment("fall & rise", 1, 3),), ()), [["data:,"]])
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
    frozen = RowOutcome(FROZEN, {1: one_class()}, (), 0.0)
    ElementTree.fromstring(curve_panel(FamilyOutcome("motion", {FROZEN: frozen}, (), 0.3), 0.2))
    once = RowOutcome(FULL, {1: one_class()}, (Validation("joint", 1, 0.5, 0.1),), 1.0)
    ElementTree.fromstring(curve_panel(FamilyOutcome("motion", {FULL: once}, (), 0.3), 0.2))


def test_words_do_not_flatter() -> None:
    assert gain(Difference(FULL, FROZEN, 1, 0.2, 0.01)) == "+20.0 points ± 1.0"
    assert gain(Difference(FULL, FROZEN, 1, -0.2, 0.01)) == "-20.0 points ± 1.0"
    assert gain(Difference(FULL, FROZEN, 1, 0.01, 0.02)).endswith("(not significant)")


def test_words_in_pictures_are_escaped() -> None:
    assert "&lt;b&gt;" in text(0, 0, "<b>")


def test_machine_rows_name_no_place() -> None:
    assert not any("/" in value and str(Path.home()) in value for value in machine_rows().values())
    assert machine_rows()["Cores"]


def test_a_family_whose_process_was_killed_ends_the_demo() -> None:
    alive, done, killed = (SimpleNamespace(exitcode=code) for code in (None, 0, -9))
    _require_alive({"motion": alive, "object-motion": done})  # type: ignore[dict-item]
    with pytest.raises(MaclipError, match="object-motion") as caught:
        _require_alive({"motion": alive, "object-motion": killed})  # type: ignore[dict-item]
    assert (caught.value.code, caught.value.exit_code) == ("demo-failed", 1)
