"""`maclip-run bench` as a user meets it: a small run of all of it, and what is refused before minutes are spent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from tiny_bundle import write_bundle
from typer.testing import CliRunner

from maclip_cli.device.app import app
from maclip_runtime import Bundle
from maclip_runtime.errors import MaclipError
from maclip_runtime.tools.bench.engine import open_bundle
from maclip_runtime.tools.bench.plan import Plan


def run(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "maclip_cli.device", "bench", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_everything_is_measured_printed_and_kept(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    bundle = write_bundle(tmp_path / "bundle", split=True)
    kept, figure = tmp_path / "bench.json", tmp_path / "bench.png"
    small = ("--seconds", 0.5, "--cold-starts", 1, "--max-classes", 10, "--max-sources", 2)
    sent = tmp_path / "send.json"
    done = run("--bundle", bundle, "--device", "cpu", *small, "--json", kept, "--figure", figure, "--submit", sent)
    assert done.returncode == 0, done.stderr
    assert "Nothing was sent" in done.stderr
    facts = json.loads(kept.read_text())
    assert json.loads(sent.read_text())["streaming"] == facts["streaming"]
    streaming, cold = facts["streaming"], facts["cold_start"]
    stages = streaming["stages"]
    assert list(stages) == ["decode", "prepare", "stem", "tower", "match", "decide", "other"]
    for name in stages:
        assert name in done.stdout
    network = stages["stem"]["p50"] + stages["tower"]["p50"]
    assert 0 < network < streaming["step"]["p50"]
    assert 0 < streaming["beside_network"] < 1
    assert all(times["p50"] <= times["p90"] <= times["p99"] for times in stages.values())
    sustained = streaming["sustained"]
    # A hop of half a second is 15 frames of the drawn video.
    assert sustained["frames_per_second"] == pytest.approx(15 * sustained["windows_per_second"], rel=0.8)
    assert len(cold["command_s"]) == 1
    assert cold["command_s"][0] > cold["parts_s"]["python"] > 0
    assert [one["classes"] for one in facts["classes"]] == [1, 10]
    assert [one["sources"] for one in facts["sources"]] == [1, 2]
    assert facts["device"] == "cpu"
    assert facts["bundle"]["contract"] == "tiny"
    assert "cores of" in done.stdout
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert figure.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--figure", "a.txt"), "option-invalid"),
        (("--json", "no/such/folder/a.json"), "output-unwritable"),
        (("--submit", "no/such/folder/a.json"), "output-unwritable"),
        (("--source", "absent.mp4"), "clip-unreadable"),
        (("--device", "toaster"), "device-unknown"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_measured(
    bundle: Path, options: tuple[str, ...], code: str
) -> None:
    done = run("--bundle", bundle, *options)
    assert done.returncode in {2, 3}
    assert f"error[{code}]" in done.stderr
    assert "fix: " in done.stderr
    assert done.stdout == ""


def test_source_without_two_windows_is_refused(bundle: Path, clips: Path) -> None:
    done = run("--bundle", bundle, "--device", "cpu", "--seconds", 0.5, "--source", clips / "red1.mp4")
    assert done.returncode == 2
    assert "error[clip-too-short]" in done.stderr


def test_every_command_that_runs_a_bundle_can_be_told_to_trust_its_engines() -> None:
    commands = typer.main.get_command(app).commands
    running = {name: {one.name for one in command.params} for name, command in commands.items()}
    assert {name for name, options in running.items() if {"bundle", "device"} <= options} == {
        name for name, options in running.items() if "trust_engines" in options
    }


@pytest.mark.parametrize("trusted", [False, True])
def test_bench_and_doctor_open_the_bundle_as_they_are_told(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    told = []

    def opened(path: Path, *, trust_engines: bool = False) -> Bundle:
        told.append(trust_engines)
        raise MaclipError("bundle-corrupt", "It was only asked for.", "Nothing.")

    monkeypatch.setattr(Bundle, "open", opened)
    for command in ("bench", "doctor"):
        options = ["--trust-engines"] if trusted else []
        CliRunner().invoke(app, [command, "--bundle", str(bundle), "--device", "cpu", *options])
    with pytest.raises(MaclipError):
        open_bundle(str(bundle), Plan(bundle, trust_engines=trusted).engine)
    assert told == [trusted] * 3
