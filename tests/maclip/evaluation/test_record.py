"""An evaluation's record can be repeated, read back and compared in pairs."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maclip.config import EvaluationConfig
from maclip.data.dataset import ActionClass, open_folders
from maclip.evaluation.api import evaluate
from maclip.evaluation.evaluator import Evaluator, Result
from maclip.evaluation.features import store_for
from maclip.evaluation.figures import confusion_figure
from maclip.evaluation.record import (
    RECORD_FORMAT,
    Record,
    clips_sha256,
    compare,
    confusion_csv,
    episodes_sha256,
    read_record,
    write_record,
)
from maclip_cli.workstation.app import app
from maclip_cli.workstation.evaluate import _print_result
from maclip_runtime.errors import MaclipError


@pytest.fixture
def classes(drawn_data) -> tuple[ActionClass, ...]:
    return open_folders(drawn_data).split("val")


@pytest.fixture
def result(classes, make_model) -> Result:
    model = make_model(adapted_depth=1)
    return Evaluator(model, store_for(model, classes)).evaluate(4, 1, 40, seed=5, queries=2)


def record(result: Result, digest: str = "0") -> Record:
    return Record(RECORD_FORMAT, "0", "run", None, "data", "val", digest, result.by_class, result, ("a",), "1", ("b",))


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path, result: Result) -> None:
    written = record(result)
    write_record(tmp_path / "r.json", written)
    assert read_record(tmp_path / "r.json") == written
    assert sum(result.by_episode) / (40 * 8) == pytest.approx(result.accuracy)


@pytest.mark.parametrize("broken", ["", "[]", "[" * 100_000, '{"format": 99}', f'{{"format": {RECORD_FORMAT}}}'])
def test_what_is_no_record_is_refused(tmp_path: Path, broken: str) -> None:
    (tmp_path / "r.json").write_text(broken)
    with pytest.raises(MaclipError) as refused:
        read_record(tmp_path / "r.json")
    assert refused.value.code == "record-invalid"


def test_a_record_that_lost_answers_or_facts_is_refused(tmp_path: Path, result: Result) -> None:
    write_record(tmp_path / "r.json", record(result))
    facts = json.loads((tmp_path / "r.json").read_text())
    for name in ("seen_in_training", "clips_sha256", "left_out"):
        (tmp_path / "less.json").write_text(json.dumps({key: facts[key] for key in facts if key != name}))
        with pytest.raises(MaclipError, match=name) as refused:
            read_record(tmp_path / "less.json")
        assert refused.value.code == "record-invalid"
    (tmp_path / "short.json").write_text(json.dumps({**facts, "by_episode": facts["by_episode"][:-1]}))
    with pytest.raises(MaclipError, match="answers of 39 episodes, not 40") as refused:
        read_record(tmp_path / "short.json")
    assert refused.value.code == "record-invalid"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"by_episode": [99] * 40}, "to 99 of 8 queries"),
        ({"by_episode": [-1] * 40}, "-1"),
        ({"by_episode": [8] * 40, "accuracy": 0.5}, "does not match its answers"),
        ({"by_episode": [], "episodes": 0}, "no queries"),
        ({"way": 0}, "no queries"),
        ({"accuracy": math.nan}, "does not match its answers"),
    ],
)
def test_answers_that_cannot_be_are_refused(tmp_path: Path, result: Result, changes, told: str) -> None:
    write_record(tmp_path / "r.json", record(result))
    facts = json.loads((tmp_path / "r.json").read_text())
    (tmp_path / "r.json").write_text(json.dumps({**facts, **changes}))
    with pytest.raises(MaclipError, match=told) as refused:
        read_record(tmp_path / "r.json")
    assert refused.value.code == "record-invalid"


def test_clips_of_the_same_names_are_not_the_same_clips(result: Result) -> None:
    a, b = (dataclasses.replace(record(result), clips_sha256=digest) for digest in ("1", "2"))
    with pytest.raises(MaclipError, match="not on the same files") as refused:
        compare(a, b)
    assert refused.value.code == "episodes-differ"
    assert not compare(a, a).separated


def test_the_clips_digest_knows_files_and_not_where_they_lie(tmp_path: Path, classes) -> None:
    digest = clips_sha256(classes)
    copied = shutil.copytree(classes[0].clips[0].parent, tmp_path / "copy")
    clips = tuple(copied / clip.name for clip in classes[0].clips)
    moved = [dataclasses.replace(classes[0], clips=clips, split=None), *classes[1:]]
    assert clips_sha256(moved) == digest
    with clips[0].open("ab") as file:
        file.write(b"more")
    assert clips_sha256(moved) != digest


def test_one_episode_separates_nothing(result: Result) -> None:
    a = dataclasses.replace(result, by_episode=(0,), episodes=1)
    b = dataclasses.replace(a, by_episode=(8,))
    found = compare(record(a), record(b))
    assert (found.difference, found.interval, found.separated) == (1.0, 1.0, False)


def test_the_episode_digest_knows_clips_and_questions(classes, result: Result) -> None:
    digest = episodes_sha256(classes, result)
    moved = [dataclasses.replace(c, clips=tuple(Path("/elsewhere") / clip.name for clip in c.clips)) for c in classes]
    assert episodes_sha256(moved, result) == digest
    for other in ({"seed": 6}, {"shot": 2, "queries": 1}, {"episodes": 39}, {"way": 5}):
        assert episodes_sha256(classes, dataclasses.replace(result, **other)) != digest
    fewer = [dataclasses.replace(classes[0], name="another"), *classes[1:]]
    assert episodes_sha256(fewer, result) != digest
    # Clips of one name in two folders of a class: which is which is known, and not where both lie.
    folders = [tuple(f"{folder}/{i}.mp4" for i in range(len(classes[0].clips) // 2 + 1)) for folder in ("a", "b")]
    digests = []
    for root, order in (("/here", folders), ("/there/it/is", folders), ("/here", folders[::-1])):
        clips = tuple(Path(root) / name for folder in order for name in folder)[: len(classes[0].clips)]
        digests.append(episodes_sha256([dataclasses.replace(classes[0], clips=clips), *classes[1:]], result))
    assert digests[0] == digests[1] != digests[2]


def test_a_paired_interval_leaves_out_what_both_find_hard(result: Result) -> None:
    a = dataclasses.replace(result, by_episode=(8, 0) * 20, accuracy=0.5)
    better = dataclasses.replace(a, by_episode=(8, 1) * 20, accuracy=0.5625)
    found = compare(record(a), record(better), "a", "b")
    assert found.difference == pytest.approx(1 / 16)
    # Differences of 0 and 1/8, half and half: the spread is 1/16 over 40 episodes, corrected for the mean.
    assert found.interval == pytest.approx(1.96 / 16 / 39**0.5)
    assert found.separated
    assert not compare(record(a), record(a)).separated


def test_other_episodes_are_not_compared(result: Result) -> None:
    with pytest.raises(MaclipError) as refused:
        compare(record(result, "0"), record(result, "1"))
    assert refused.value.code == "episodes-differ"
    fewer = dataclasses.replace(result, by_episode=(0,), episodes=1)
    for other in (fewer, dataclasses.replace(result, way=8), dataclasses.replace(result, queries=4)):
        with pytest.raises(MaclipError, match="different episodes"):  # though the digest says so
            compare(record(result), record(other))


def test_accuracy_by_class_and_confusion_tell_the_same(tmp_path: Path, result: Result) -> None:
    rows = confusion_csv(result).splitlines()
    assert rows[0].split(",") == ["true class", *result.names]
    for place, row in enumerate(rows[1:]):
        counts = [int(n) for n in row.split(",")[1:]]
        assert counts == list(result.confusion[place])
        assert result.by_class[result.names[place]] == pytest.approx(counts[place] / sum(counts))
    formula = (r"$\frac{$", *result.names[1:])  # no formula at all
    confusion_figure(dataclasses.replace(result, names=formula), tmp_path / "c.png")
    from PIL import Image

    with Image.open(tmp_path / "c.png") as picture:
        assert picture.format == "PNG"
        # White cells alone would be an empty matrix.
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50


def test_a_record_is_plain_json(tmp_path: Path, result: Result) -> None:
    write_record(tmp_path / "r.json", record(result))
    facts = json.loads((tmp_path / "r.json").read_text())
    assert facts["way"] == 4
    assert facts["support"] == {"names": "own", "average": "prototypes"}


@pytest.mark.parametrize(
    "args",
    [
        ("eval", "RUN", "DATA", "--seed", "-1"),
        ("train", "DATA", "--out", "RUN", "--seed", "-1"),
        ("train", "DATA", "--out", "RUN", "--weight-decay", "-1"),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_anything_is_made(tmp_path, monkeypatch, drawn_data, args):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DATA").symlink_to(drawn_data)
    done = CliRunner().invoke(app, args)
    assert isinstance(done.exception, MaclipError)
    assert (done.exception.code, done.exception.exit_code) == ("option-invalid", 2)
    assert args[-2] in done.exception.message
    assert not (tmp_path / "RUN").exists()


def test_an_unknown_device_is_refused(tmp_path, drawn_data):
    done = CliRunner().invoke(app, ["eval", str(tmp_path), str(drawn_data), "--device", "tpu"])
    assert isinstance(done.exception, MaclipError)
    assert done.exception.code == "option-invalid"
    assert "cuda" in done.exception.fix


def test_a_device_that_is_not_there_is_refused_before_the_work(tmp_path, monkeypatch, drawn_data):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = CliRunner().invoke(app, ["eval", str(tmp_path), str(drawn_data), "--device", "cuda"])
    assert isinstance(done.exception, MaclipError)
    assert done.exception.code == "device-missing"


def test_classes_with_too_few_clips_are_not_counted_as_asked_for(classes, make_model, capsys) -> None:
    few = [dataclasses.replace(c, clips=c.clips[: 2 if i < 2 else 6]) for i, c in enumerate(classes)]
    notes: list[str] = []
    config = EvaluationConfig.of(way=3, shot=2, queries=1, episodes=30)
    found = evaluate(make_model(adapted_depth=1), few, config, split="val", note=notes.append)
    small = tuple(c.name for c in few[:2])
    assert found.too_small == small
    assert set(found.asked) == set(found.by_class) == {c.name for c in few[2:]}
    assert [note for note in notes if all(repr(name) in note for name in small)]
    _print_result(found)
    assert f"on {len(few) - 2} val classes (2 more have too few clips)" in capsys.readouterr().out


def test_every_fusion_weight_has_its_own_interval(result: Result, make_model, classes) -> None:
    model = make_model(adapted_depth=1)
    evaluator = Evaluator(model, store_for(model, classes))
    for weight in result.by_fusion_weight:
        own = evaluator.evaluate(4, 1, 40, seed=5, queries=2, weight=float(weight))
        assert result.by_fusion_weight[weight] == pytest.approx(own.accuracy)
        assert result.interval_by_fusion_weight[weight] == pytest.approx(own.interval)
