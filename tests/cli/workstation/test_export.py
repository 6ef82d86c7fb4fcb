"""`maclip export` as a user meets it: every form, what the table says, and what is refused before any long work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from videos import color_video

from maclip_cli.workstation.app import app
from maclip_runtime import MaclipError, Recognizer
from maclip_runtime.bundle.opening import Bundle

FROZEN = ("export", "--frozen", "--backbone", "tiny")


def run(*args: object) -> None:
    app([str(arg) for arg in args], standalone_mode=False)


def refused(code: str, *args: object) -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        run(*args)
    assert caught.value.code == code
    assert caught.value.fix
    return caught.value


def test_one_command_makes_a_bundle_that_embeds_names_and_a_repository_for_triton(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "names.yaml").write_text("- juggling torches\n- bowing\n")
    bundle, repository = tmp_path / "bundle", tmp_path / "models"
    lists = ("--names", tmp_path / "names.yaml", "--names", "ucf101")
    run(*FROZEN, "-o", bundle, *lists, "--text-encoder", "--triton", repository, "--int8", "--quantization", "dynamic")
    said = capsys.readouterr().err
    assert "int8 dynamic" in said
    assert "torch" in said
    assert "bundle" in said
    opened = Bundle.open(bundle)
    assert opened.manifest.names.count == 103
    assert opened.manifest.provenance.run is None
    assert {path.name for path in repository.iterdir()} == {
        "maclip_visual", "maclip_prototype", "maclip_match", "maclip_text"
    }  # fmt: skip
    with Recognizer.open(bundle, tmp_path / "gallery.db", device="cpu") as recognizer:
        done = recognizer.enroll("a name that no list has", [clips / "red1.mp4"])
        assert done.text_name == "a name that no list has"
        recognizer.enroll("juggling torches", [clips / "blue1.mp4"])
        assert recognizer.classify(clips / "red1.mp4").probabilities.keys() == {
            "a name that no list has", "juggling torches"
        }  # fmt: skip


def test_what_cannot_be_is_refused_before_the_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import maclip

    monkeypatch.setattr(maclip, "build", lambda *args, **kwargs: pytest.fail("the model was loaded"))
    bundle = ("-o", tmp_path / "bundle")
    refused("option-invalid", "export", "-o", tmp_path / "bundle")
    refused("option-invalid", *FROZEN)
    refused("option-invalid", *FROZEN, *bundle, "--fp16", "--int8")
    refused("option-invalid", *FROZEN, *bundle, "--int8", "--quantization", "best")
    (tmp_path / "twice.txt").write_text("wave\nWave\n")
    assert "twice.txt" in refused("names-invalid", *FROZEN, *bundle, "--names", tmp_path / "twice.txt").message
    (tmp_path / "gap.txt").write_text("wave\n\njump\n")
    refused("names-invalid", *FROZEN, *bundle, "--names", tmp_path / "gap.txt")
    assert "kinetics700" in refused("names-invalid", *FROZEN, *bundle, "--names", "kinetics").fix
    for inside in (tmp_path / "bundle" / "models", tmp_path / "bundle"):
        refused("option-invalid", *FROZEN, *bundle, "--triton", inside)
    with pytest.raises(typer.BadParameter, match="or equal to 2"):  # of one clip a class nothing can be asked
        run(*FROZEN, *bundle, "--gate-clips", 1)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine.txt").write_text("keep me")
    refused("output-exists", *FROZEN, *bundle)
    assert (tmp_path / "bundle" / "mine.txt").read_text() == "keep me"


def test_a_run_that_is_none_is_refused(tmp_path: Path):
    refused("run-missing", "export", tmp_path, "-o", tmp_path / "bundle")
    (tmp_path / "config.json").write_text(json.dumps({"format": 99}))
    refused("run-invalid", "export", tmp_path, "-o", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_too_little_to_calibrate_on_is_refused(tmp_path: Path):
    for name in ("red", "green"):
        (tmp_path / "data" / name).mkdir(parents=True)
        color_video(tmp_path / "data" / name / "0.mp4", [(name, 1.0)])
    given = ("--calibration-data", tmp_path / "data")
    refused("calibration-too-small", *FROZEN, "-o", tmp_path / "bundle", "--int8", *given)
    assert not (tmp_path / "bundle").exists()


def test_the_gate_looks_at_the_clips_it_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for seed, name in enumerate(["red", "green", "blue"]):
        (tmp_path / "data" / name).mkdir(parents=True)
        for clip in range(2):
            color_video(tmp_path / "data" / name / f"{clip}.mp4", [(name, 1.0)], seed=10 * seed + clip)
    run(*FROZEN, "-o", tmp_path / "bundle", "--gate-data", tmp_path / "data", "--gate-clips", 2)
    measured = Bundle.open(tmp_path / "bundle").manifest.gate_accuracy
    assert measured is not None
    assert measured.measured_on == "6 clips of 3 classes of data"
    assert measured.way == 3
    assert "6 clips of 3 classes of data" in capsys.readouterr().err
