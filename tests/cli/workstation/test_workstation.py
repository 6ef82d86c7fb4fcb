"""`maclip` as a user meets it: what it prints, how it ends, and what it says of bad input."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from videos import color_video, write_sound

from maclip_cli.workstation import app as command_line

WITHOUT = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(name)
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {blocked} else find(name, *rest)
sys.meta_path.insert(0, Blocker())
from maclip_cli.workstation.app import main
main()
"""


def process(*args: object, blocked: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """`maclip` as a process of its own, which imports torch: seconds. `blocked`: libraries that it cannot import."""
    code = WITHOUT.format(blocked=set(blocked) or "()")
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=300, check=False
    )


def run(*args: object) -> subprocess.CompletedProcess[str]:
    """`maclip` in this process: the same entry point, exit code and streams."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["maclip", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
    assert isinstance(ended.value.code, int)
    return subprocess.CompletedProcess(args, ended.value.code, out.getvalue(), err.getvalue())


def assert_refused(done: subprocess.CompletedProcess[str], code: str, exit_code: int = 2) -> None:
    assert done.returncode == exit_code, done.stderr
    assert "Traceback" not in done.stderr
    assert f"error[{code}]: " in done.stderr
    assert "fix: " in done.stderr


def test_info_counts_the_papers_parameters():
    done = run("info", "--backbone", "ViT-B-32", "--pretrained", "none", "--adapters", "blocks", "--json")
    facts = json.loads(done.stdout)
    assert facts["parameters_total"] == pytest.approx(169.81e6, abs=0.01e6)
    assert facts["parameters_tuned"] == pytest.approx(18.54e6, abs=0.01e6)
    assert facts["parameters_prototype"] == pytest.approx(3.15e6, abs=0.01e6)


def test_a_device_without_torch_is_told_what_to_install():
    done = process("info", "--backbone", "tiny", blocked=("torch", "open_clip"))
    assert_refused(done, "training-missing", exit_code=3)
    assert "maclip[train" in done.stderr
    assert process("--help", blocked=("torch", "open_clip")).returncode == 0


@pytest.mark.long
def test_from_clips_to_an_accuracy_and_a_bundle(drawn_folder: Path, tmp_path: Path):
    run_folder = tmp_path / "run"
    blocks = ("--adapters", "blocks", "--adapted-depth", 1)
    short = ("--backbone", "tiny", "--pretrained", "none", *blocks, "--way", 3, "--episodes", 4)
    done = process("train", drawn_folder, "--out", run_folder, *short, "--accumulate", 2)
    assert done.returncode == 0, done.stderr
    assert "Next: maclip export" in done.stderr
    assert done.stdout == ""

    result = tmp_path / "result.json"
    few = ("--split", "test", "--way", 3, "--episodes", 50, "--seed", 4)
    page = tmp_path / "page.html"
    done = run("eval", run_folder, drawn_folder, *few, "--json", result, "--report", page)
    assert done.returncode == 0, done.stderr
    assert page.read_text().startswith("<!doctype html>")
    facts = json.loads(result.read_text())
    # Without splits all was trained on, and that is said.
    assert "3 test classes, 3 of which were also in training" in done.stdout
    assert sorted(facts["seen_in_training"]) == ["blue", "green", "red"]
    assert 0 <= facts["accuracy"] <= 1
    assert (facts["way"], facts["episodes"], facts["seed"], facts["split"]) == (3, 50, 4, "test")
    assert f"{facts['accuracy']:.1%}" in done.stdout
    assert set(facts["by_class"]) == set(facts["names"])

    unnamed = tmp_path / "unnamed.json"
    confusion = tmp_path / "confusion.a0.4"
    done = run("eval", run_folder, drawn_folder, *few, "--names", "none", "--json", unnamed, "--confusion", confusion)
    assert done.returncode == 0, done.stderr
    assert {file.name for file in tmp_path.glob("confusion.*")} == {"confusion.a0.4.csv", "confusion.a0.4.png"}
    assert_refused(run("eval", run_folder, drawn_folder, *few, "--json", tmp_path), "output-unwritable")
    compared = run("compare", result, unnamed, "--json")
    assert compared.returncode == 0, compared.stderr
    paired = json.loads(compared.stdout)
    assert paired["difference"] == pytest.approx(paired["accuracy_b"] - paired["accuracy_a"])
    assert paired["episodes"] == 50
    done = run("eval", run_folder, drawn_folder, *few[:4], "--episodes", 49, "--seed", 4, "--json", unnamed)
    assert_refused(run("compare", result, unnamed), "episodes-differ")
    assert_refused(run("eval", run_folder, drawn_folder, "--names", "some"), "option-invalid")

    assert_refused(run("train", drawn_folder, "--out", run_folder, *short), "output-exists")
    assert_refused(run("eval", run_folder, drawn_folder, "--shot", 9, *few[:4]), "too-few-clips")
    assert_refused(run("eval", run_folder, tmp_path), "data-empty")
    assert_refused(run("eval", tmp_path, drawn_folder), "run-missing")

    bundle = tmp_path / "bundle"
    done = run("export", run_folder, "-o", bundle)
    assert done.returncode == 0, done.stderr
    assert "largest difference from torch" in done.stderr
    assert "3-way 1-shot on 9 clips of 3 classes" in done.stderr
    assert_refused(run("export", run_folder, "-o", bundle), "output-exists")


def test_ctrl_c_keeps_the_last_state_and_says_how_to_go_on(drawn_folder: Path, tmp_path: Path):
    run_folder = tmp_path / "run"
    few = ("--way", "3", "--episodes", "0", "--prototype-episodes", "300", "--accumulate", "1")
    blocks = ("--adapters", "blocks", "--adapted-depth", "1")
    command = ["train", drawn_folder, "--out", run_folder, "--backbone", "tiny", "--pretrained", "tiny", *few, *blocks]
    started = subprocess.Popen(
        [sys.executable, "-c", WITHOUT.format(blocked="()"), *map(str, command)],
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = run_folder / "metrics.jsonl"
    until = time.monotonic() + 120
    while not (metrics.is_file() and metrics.stat().st_size):
        assert started.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130, said
    assert f"maclip train --resume {run_folder}" in said
    assert "Traceback" not in said
    assert run("train", "--resume", run_folder).returncode == 0
    episodes = [row["episode"] for row in map(json.loads, metrics.read_text().splitlines()) if "loss" in row]
    assert episodes == list(range(1, 301))


@pytest.fixture(scope="module")
def drawn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of three coloured videos, without splits."""
    root = tmp_path_factory.mktemp("drawn") / "data"
    for seed, name in enumerate(["red", "green", "blue"]):
        (root / name).mkdir(parents=True)
        for i in range(3):
            color_video(root / name / f"{i}.mp4", [(name, 1.0)], seed=10 * seed + i)
    return root


def test_bad_input_is_said_in_a_sentence(tmp_path: Path, drawn_folder: Path):
    out = ("--out", tmp_path / "run", "--backbone", "tiny", "--pretrained", "none")
    assert_refused(process("train", tmp_path / "nowhere", *out), "data-missing")
    assert_refused(run("train", drawn_folder), "option-invalid")
    assert_refused(run("train", drawn_folder, *out, "--adapters", "blocks", "--adapted-depth", 99), "depth-invalid")
    for command in (("train", drawn_folder, *out), ("info", *out[2:])):
        done = run(*command, "--adapted-depth", 4)
        assert_refused(done, "option-invalid")
        assert "Add --adapters blocks, or leave out --adapted-depth." in done.stderr
    for template in ("no place", "a {} {x}", "{} {0}", "{"):
        assert_refused(
            run("train", drawn_folder, *out, "--template", template, "--adapters", "blocks", "--adapted-depth", 1),
            "option-invalid",
        )
    assert_refused(run("train", drawn_folder, *out, "--metric", "dtw", "--way", 2), "metric-unknown")
    assert_refused(run("synth", tmp_path, "--family", "dance"), "family-unknown")
    assert_refused(run("export", "-o", tmp_path / "bundle"), "option-invalid")
    broken = tmp_path / "weights.pt"
    broken.write_bytes(b"no")
    assert_refused(run("info", "--backbone", "ViT-B-32", "--pretrained", broken), "checkpoint-unreadable")
    assert not (tmp_path / "run").exists()


def test_a_clip_without_pictures_stops_training_with_its_name(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(2):
            color_video(tmp_path / "data" / name / f"{i}.mp4", [("red", 1.0)])
    write_sound(tmp_path / "data" / "a" / "0.mp4")
    out = ("--out", tmp_path / "run", "--backbone", "tiny", "--pretrained", "none", "--way", 2)
    done = run("train", tmp_path / "data", *out, "--adapters", "blocks", "--adapted-depth", 1)
    assert_refused(done, "data-broken")
    assert "0.mp4" in done.stderr
