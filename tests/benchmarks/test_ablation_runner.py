"""The ablation's runner keeps what is done and goes on where it was stopped; its rows are what they say."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch
from small_clip import small_backbone

from benchmarks.ablation import bench, run
from benchmarks.ablation.bench import Bench, Log
from benchmarks.ablation.cells import CLIPS, Clip, Setting, cell_path
from benchmarks.ablation.rows import FULL, ROWS, Row, find_row
from maclip.backbones.loading import TINY_DIR, load_backbone
from maclip.evaluation.record import read_record
from maclip.evaluation.selection import choose_fusion_weight
from maclip.training import api, choosing
from maclip_runtime.errors import MaclipError

SETTING = Setting(Clip("small", "none"), "motion", 1)
SHORT = {"way": 4, "validations": 2, "validation_episodes": 20, "views": 1}


def short(name: str) -> Row:
    """A row with little to train."""
    row = find_row(name)
    if row.train is None:
        return row
    counts = {"episodes": min(8, row.train.episodes), "prototype_episodes": min(4, row.train.prototype_episodes)}
    return replace(row, train=row.train.changed(**SHORT, **counts))


@pytest.fixture(autouse=True, scope="module")
def small(drawn_data: Path) -> Iterator[None]:
    """A small CLIP, few episodes, and clips that are there already instead of being drawn."""
    monkeypatch = pytest.MonkeyPatch()

    def draw(out: Path, *args: object, **kwargs: object) -> None:
        shutil.copytree(drawn_data, out)
        for number, folder in enumerate(sorted(path for path in out.iterdir() if path.is_dir())):
            for clip in sorted(folder.iterdir()) if number % 2 else ():
                shutil.copy(clip, clip.with_stem(f"again-{clip.stem}"))
        listed = json.loads((out / "classes.json").read_text())
        for number, entry in enumerate(listed["classes"].values()):
            entry["split"] = "test" if number % 2 and entry["split"] == "train" else entry["split"]
        (out / "classes.json").write_text(json.dumps(listed))

    for module in (api, bench):
        monkeypatch.setattr(module, "load_backbone", lambda name, pretrained, **_: small_backbone())
    monkeypatch.setattr("maclip.runs.load_backbone", lambda name, pretrained, **_: small_backbone())
    monkeypatch.setattr(choosing, "CHOOSING_EPISODES", 50)
    monkeypatch.setattr(bench, "CHOOSING_EPISODES", 50)
    monkeypatch.setattr(bench, "EPISODES", 40)
    monkeypatch.setattr(bench, "SHOTS", (1, 2))
    monkeypatch.setattr(bench, "write_clips", draw)
    monkeypatch.setattr(bench, "find_row", short)
    yield
    monkeypatch.undo()


@pytest.fixture(scope="module")
def whole(small: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The full model's row, computed in one go."""
    folder = tmp_path_factory.mktemp("whole")
    make_bench(folder).work(short("both"))
    return folder


def make_bench(folder: Path) -> Bench:
    return Bench(SETTING, folder / "scratch", results=folder / "results")


def cell(folder: Path, name: str) -> dict[str, object]:
    facts: dict[str, object] = json.loads(cell_path(folder / "results", SETTING, find_row(name)).read_text())
    return facts


class Stop(BaseException):
    """As a kill would end it, but for what was never written."""


def test_a_stopped_row_goes_on_and_a_done_one_is_left_alone(whole, tmp_path, monkeypatch):
    validations = []

    def stop(self: Log, stage: str, episode: int, accuracy: float, interval: float) -> None:
        validated(self, stage, episode, accuracy, interval)
        validations.append((stage, episode))
        if len(validations) == 3:
            raise Stop

    validated = Log.validated
    monkeypatch.setattr(Log, "validated", stop)
    with pytest.raises(Stop):
        make_bench(tmp_path).work(short("both"))
    spent = json.loads((tmp_path / "scratch/small-motion-1/both/spent.json").read_text())["minutes"]
    assert spent > 0
    assert not (tmp_path / "results").exists()
    make_bench(tmp_path).work(short("both"))
    assert [stage for stage, _ in validations[:3]] == ["prototype", "prototype", "joint"]
    assert len(validations) <= 5  # two of TPCM alone and two of all, one of them perhaps twice

    def figures(folder: Path) -> dict[str, object]:
        found = cell(folder, "both")
        return {key: found[key] for key in found if key not in ("minutes", "commit")}

    assert figures(tmp_path) == figures(whole)
    assert cell(tmp_path, "both")["minutes"] > spent
    monkeypatch.setattr(bench, "open_folders", None)  # nothing more is asked of what is done
    make_bench(tmp_path).work(short("both"))


def test_a_training_stopped_before_its_first_state_begins_anew(tmp_path, monkeypatch):
    real = Log.progress

    def stop(self: Log, what: str) -> object:
        if what.startswith("stem"):
            raise Stop
        return real(self, what)

    monkeypatch.setattr(Log, "progress", stop)
    with pytest.raises(Stop):
        make_bench(tmp_path).work(short("tpcm"))
    assert (tmp_path / "scratch/small-motion-1/tpcm").is_dir()
    monkeypatch.setattr(Log, "progress", real)
    make_bench(tmp_path).work(short("tpcm"))
    assert cell(tmp_path, "tpcm")["curve"]


def test_clips_that_were_half_drawn_are_drawn_again(tmp_path):
    half = tmp_path / "scratch" / "clips-motion-1" / "waving"
    half.mkdir(parents=True)
    make_bench(tmp_path).work(find_row("frozen-otam"))
    assert not half.exists()
    assert [path.name for path in (tmp_path / "scratch").glob("clips-*")] == ["clips-motion-1"]
    assert not list((tmp_path / "scratch").glob("tmp*"))


def test_rows_are_asked_as_they_say(whole):
    work = make_bench(whole)
    names = ("both", "zero-shot", "frozen-mean", "no-names", "wrong-names", "mean-before")
    for name in names:
        work.work(short(name))
    cells = {name: cell(whole, name) for name in names}
    asked = {name: found["2-shot"] for name, found in cells.items()}
    assert len({one["episodes_sha256"] for one in asked.values()}) == 1
    weights = {name: one["fusion_weight"] for name, one in asked.items()}
    assert weights["zero-shot"] == 1  # text alone
    assert weights["frozen-mean"] < 1
    assert weights["no-names"] == 0
    assert asked["zero-shot"]["accuracy"] == pytest.approx(asked["frozen-mean"]["by_fusion_weight"]["1"])
    records = {name: read_record(work.folder / "records" / f"{name}-2.json").result for name in names}
    assert {name: (r.support.names, r.support.average) for name, r in records.items()} == {
        "both": ("own", "prototypes"),
        "zero-shot": ("own", "prototypes"),
        "frozen-mean": ("own", "prototypes"),
        "no-names": ("none", "prototypes"),
        "wrong-names": ("wrong", "prototypes"),
        "mean-before": ("own", "features"),
    }
    assert cells["no-names"]["curve"] == []  # drawn once, for the row that was trained
    assert 0 <= cells["both"]["training"] <= 1
    assert cells["no-names"]["training"] is None
    assert cells["no-names"]["minutes"] == cells["both"]["minutes"]
    for one in asked.values():
        assert sum(map(int, one["by_episode"])) / len(one["by_episode"]) / 5 == pytest.approx(one["accuracy"])


def test_a_frozen_rows_text_weight_comes_from_validation_classes(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(bench, "choose_fusion_weight", lambda result: seen.append(result) or 0.2)
    make_bench(tmp_path).work(find_row("frozen-bimhm"))
    data = bench.open_folders(tmp_path / "scratch" / "clips-motion-1")
    assert seen[0].names == tuple(c.name for c in data.split("val"))
    assert cell(tmp_path, "frozen-bimhm")["1-shot"]["fusion_weight"] == 0.2
    assert choose_fusion_weight(seen[0]) < 1


def test_what_training_came_to_is_read_from_its_last_tenth(tmp_path):
    steps = [{"stage": "prototype", "episode": episode, "accuracy": 0.0} for episode in range(1, 41)]
    steps += [{"stage": "joint", "episode": episode, "accuracy": 0.2} for episode in range(1, 20)]
    steps += [{"stage": "joint", "episode": 19, "accuracy": 0.6}]  # after a kill: it counts, the first does not
    steps += [{"stage": "joint", "episode": 20, "accuracy": 1.0}, {"stage": "joint", "episode": 20, "validation": 0.4}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in [{"run": 1}, *steps]))
    assert bench.training_accuracy(tmp_path) == pytest.approx(0.8)


def test_without_its_text_token_only_the_prototypes_see_the_text(make_model):
    model = make_model(**find_row("no-token").model.values())
    frames = torch.randint(0, 256, (2, 8, 32, 32, 3), dtype=torch.uint8)
    text = torch.randn(2, 16)
    with torch.no_grad():
        features = model.features(frames, text, torch.tensor([True, False]))
        torch.testing.assert_close(features, model.features(frames))
        assert not torch.allclose(model.prototypes(features, text), model.prototypes(features))
        told = make_model(**FULL.model.values())
        assert not torch.allclose(told.features(frames, text), told.features(frames))
    assert not any(".text." in name for name, tensor in model.named_parameters() if tensor.requires_grad)


@pytest.mark.parametrize("name", ["tpcm", "tpcm-crops", "both-crops", "k-all-anew", "k2", "full-tuning"])
def test_the_page_says_which_rows_see_random_crops(tmp_path, name):
    work = make_bench(tmp_path)
    data = work._data(Log(name))
    work._trained(short(name), data)
    store = work.stores[-2]  # training's; the last is validation's
    assert find_row(name).random_crops is (not store.is_cached or store.stem_views > 0)


def test_a_clip_is_found_by_name_or_file(tmp_path, monkeypatch):
    weights = tmp_path / "w.safetensors"
    shutil.copy(TINY_DIR / "open_clip_model.safetensors", weights)
    assert run.find_clip("tiny") == CLIPS[0]
    assert run.find_clip(f"mine={weights}") == Clip("mine", str(weights))
    monkeypatch.setattr(run, "CLIPS", (*CLIPS[:1], Clip("nopos", str(weights))))
    assert run.find_clip("nopos").pretrained == str(weights)
    for lacking in ("no-such", "mine=no-such-file"):
        with pytest.raises(MaclipError) as refused:
            run.find_clip(lacking)
        assert refused.value.code == "weights-unavailable"
    # A training that is resumed finds the file again by what it noted.
    assert load_backbone("tiny", str(weights)).pretrained == str(weights)
    assert load_backbone("tiny", "openai").pretrained == "tiny"


def test_only_settings_that_lack_a_row_are_worked_on(tmp_path):
    other = replace(SETTING, split=2)
    for row in ROWS[:2]:
        path = cell_path(tmp_path, SETTING, row)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert run.missing([SETTING, other], ROWS[:2], tmp_path) == [other]
    assert run.missing([SETTING, other], ROWS[:3], tmp_path) == [SETTING, other]


def test_settings_are_worked_on_side_by_side_and_none_begins_after_a_failure(monkeypatch):
    """In threads here: processes would import torch each."""
    together, done = threading.Barrier(2), []

    def do(setting: Setting) -> None:
        if setting.split == 3:
            raise MaclipError("clip-unreadable", "It is broken.", "Mend it.")
        if setting.split < 3:
            together.wait(10)
        done.append(setting.split)
        time.sleep(0.2)

    monkeypatch.setattr(run, "ProcessPoolExecutor", lambda jobs, context: ThreadPoolExecutor(jobs))
    with pytest.raises(MaclipError, match="It is broken"):
        run.work_all([replace(SETTING, split=split) for split in range(1, 20)], 2, do)
    assert {1, 2} <= set(done) <= {1, 2, 4}
    job = partial(run.work, scratch=Path("s"), rows=ROWS, device="cpu", results=Path("r"))
    assert ForkingPickler.dumps(job)  # so a process can be given it


def test_what_is_wrong_is_told_with_a_fix(tmp_path, capsys):
    folder = tmp_path / "clips-motion-7"
    folder.mkdir()
    (folder / "classes.json").write_text("no JSON")
    assert run.main([str(tmp_path), "--split", "7", "--family", "motion", "--rows", "frozen-otam"]) == 2
    assert run.main([str(tmp_path), "--rows", "no-such-row"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.split("[")[0].split(":")[0] for line in told] == ["error", "fix", "error", "fix"]
    assert "frozen-otam" in told[3]
