"""One call exports a run or a model: what a Python user gets, which is what the command line gets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from random_models import NAMES, randomised
from videos import color_video

import maclip
import maclip_export
from maclip.config import EvaluationConfig, Machine, TrainConfig
from maclip.evaluation.evaluator import Evaluator
from maclip.runs import Run
from maclip_export import ExportOptions, Report, export, read_names
from maclip_export.bundle import writer as bundle_writer
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.errors import MaclipError


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has hardly begun, on four clips."""
    root = tmp_path_factory.mktemp("api")
    for name in ("red", "green"):
        (root / "clips" / name).mkdir(parents=True)
        for seed in range(2):
            color_video(root / "clips" / name / f"{seed}.mp4", [(name, 1.0)], seed=seed)
    config = TrainConfig.of(way=2, episodes=1, accumulate=1, views=1)
    model = maclip.build("tiny", "none", frames=2, adapters="blocks", adapted_depth=1)
    return maclip.train(model, root / "clips", config, out=root / "run", machine=Machine.of(device="cpu")).path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the prototype graph and no accuracy, for tests of what happens around them."""
    graphs = bundle_writer.graphs_of
    monkeypatch.setattr(bundle_writer, "graphs_of", lambda model: [g for g in graphs(model) if g.name == "prototype"])
    monkeypatch.setattr(bundle_writer.AccuracyCheck, "run", lambda *args: None)


def refused(code: str, run: Any, out: Path, **chosen: Any) -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        export(run, out, ExportOptions(**chosen))
    assert caught.value.code == code
    assert caught.value.fix
    return caught.value


def test_a_run_becomes_a_bundle_in_one_call(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from maclip import runs

    read, opened = runs.from_dict, []
    monkeypatch.setattr(runs, "from_dict", lambda kind, data: opened.append(kind) or read(kind, data))
    steps: list[str] = []
    report = export(trained, str(tmp_path / "bundle"), ExportOptions(gate_clips=2, names=NAMES), note=steps.append)
    assert isinstance(report, Report)
    assert opened == [runs.RunConfig]  # the config is read once
    assert steps[0] == "loading"
    assert {"exporting tower", "checking match against torch"} <= set(steps)
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest == report.manifest
    assert bundle.manifest.provenance.run == "run"
    assert bundle.manifest.gate_accuracy is not None
    assert bundle.manifest.gate_accuracy.measured_on == "4 clips of 2 classes of clips"
    assert report.notes == ()
    assert set(json.loads((tmp_path / "bundle" / "names.json").read_text())["names"]) == {*NAMES, "red", "green"}


@pytest.mark.usefixtures("quick")
def test_a_run_whose_clips_are_gone_is_exported_and_says_so(trained: Path, tmp_path: Path):
    clips = trained.parent / "clips"
    clips.rename(tmp_path / "moved")
    try:
        report = export(trained, tmp_path / "bundle", ExportOptions(gate_clips=2))
        given = export(trained, tmp_path / "other", ExportOptions(gate_clips=2, gate_data=tmp_path / "moved"))
    finally:
        (tmp_path / "moved").rename(clips)
    assert len(report.notes) == 1
    assert "generated ones were used" in report.notes[0]
    assert str(clips) in report.notes[0]
    assert given.notes == ()


@pytest.mark.usefixtures("quick")
def test_a_run_that_names_did_not_help_is_used_without_them(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    config = json.loads((copy / "config.json").read_text())
    config["chosen"]["names"] = False
    (copy / "config.json").write_text(json.dumps(config))
    report = export(copy, tmp_path / "bundle", ExportOptions(gate_clips=2))
    assert [("--text" in note) for note in report.notes] == [True]
    assert not report.manifest.names.used
    given: list[str] = []
    made = Evaluator.__init__
    monkeypatch.setattr(Evaluator, "__init__", lambda self, *rest: given.append(rest[3].names) or made(self, *rest))
    asked = EvaluationConfig.of(way=2, shot=1, episodes=2)
    for config, run in ((asked, copy), (asked.changed(names="own"), copy), (asked, trained)):
        maclip.evaluate(Run.open(run), trained.parent / "clips", config, split="train")
    assert given == ["none", "own", "own"]


@pytest.mark.usefixtures("quick")
def test_a_model_in_memory_is_given_back_as_it_was(tmp_path: Path):
    model = randomised(maclip.build("tiny", "none", adapters="blocks", adapted_depth=1)).train()
    report = export(model, tmp_path / "bundle", ExportOptions(names=NAMES, gate_clips=2))
    assert model.training
    assert model.blocks.training
    assert report.manifest.provenance.run is None
    assert report.manifest.names.count == len(NAMES)
    refused("option-invalid", model, tmp_path / "again", pretrained="openai")


@pytest.mark.usefixtures("quick")
def test_plain_clip_without_names_gets_those_of_its_world(tmp_path: Path):
    plain = maclip.build("tiny", "none", adapters="none", prototype="none")
    report = export(plain, tmp_path / "bundle")
    assert report.accuracy is None
    assert report.manifest.names.count > 100
    assert "nothing is trained" in report.notes[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"precision": "fp8"}, {"precision": None}, {"quantization": "best"}, {"names": "kinetics700"}, {"names": [3]},
        {"gate_clips": 1}, {"gate_clips": "4"},
    ],
)  # fmt: skip
def test_options_check_themselves(wrong: dict[str, Any]):
    with pytest.raises(MaclipError) as caught:
        ExportOptions(**wrong)
    assert caught.value.code == "option-invalid"
    assert caught.value.fix


def test_what_can_be_known_before_is_refused_before_the_run_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Path
):
    monkeypatch.setattr(Run, "open", lambda path: pytest.fail("the run was opened"))
    (tmp_path / "there").mkdir()
    refused("output-exists", trained, tmp_path / "there")
    refused("output-exists", trained, tmp_path / "bundle", triton=tmp_path / "there")
    refused("option-invalid", trained, tmp_path / "bundle", triton=str(tmp_path / "bundle" / "models"))
    refused("precision-unsupported", trained, tmp_path / "bundle", precision="int8", quantization="dynamic", rtx=True)


def test_names_that_no_bundle_can_hold_are_refused(tmp_path: Path):
    plain = maclip.build("tiny", "none", adapters="none", prototype="none")
    assert "name 2 is empty" in refused("names-invalid", plain, tmp_path / "bundle", names=["wave", " "]).message
    refused("names-invalid", plain, tmp_path / "bundle", names=["\ud800"])
    assert not (tmp_path / "bundle").exists()


def test_the_package_names_what_it_exports_and_nothing_else():
    assert {"export", "ExportOptions", "Report", "read_names"} == set(maclip_export.__all__)
    assert read_names("ucf101")[0]
    with pytest.raises(AttributeError, match="nothing"):
        maclip_export.nothing  # noqa: B018


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    refused("run-missing", tmp_path, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
