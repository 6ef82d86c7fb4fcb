"""`maclip-run doctor`: a report for people and for programs, and an exit code for scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
from typer.testing import CliRunner

from maclip_cli.device.app import app
from maclip_runtime.errors import MaclipError

TAKES_NOTHING = "AzureExecutionProvider"
WIDE = {"COLUMNS": "200"}


def test_people_read_devices_graphs_choice_and_problems(bundle: Path, tmp_path: Path) -> None:
    env = {**WIDE, "MACLIP_CACHE": str(tmp_path)}
    done = CliRunner().invoke(app, ["doctor", "--bundle", str(bundle)], env=env)
    assert done.exit_code == 0, done.output
    for words in ("auto chooses ", "onnxruntime", "openvino-f32", "visual", "CPUExecutionProvider", "is not signed"):
        assert words in done.stdout
    assert "auto chooses" in done.stdout
    assert "measured here, milliseconds a step" in done.stdout
    assert "timed on this machine" in done.stdout
    assert len(list((tmp_path / "choices").iterdir())) == 1  # which `recognize` follows from now on
    assert "No problems found." in done.stdout or "problem 1, " in done.stdout


@pytest.mark.skipif(TAKES_NOTHING not in onnxruntime.get_available_providers(), reason="a build without it")
def test_of_many_nodes_that_strayed_people_read_a_few(bundle: Path) -> None:
    command = ["doctor", "--device", TAKES_NOTHING, "--bundle", str(bundle)]
    shown = CliRunner().invoke(app, command, env=WIDE).stdout
    assert "and 9 more" in shown
    fallback_nodes = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)["graphs"][0]["fallback_nodes"]
    assert len(fallback_nodes) == 12
    assert "Mul_0 (Mul)" in shown  # the only one of its graph


def test_programs_read_one_object(bundle: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--device", "cpu", "--bundle", str(bundle), "--json"])
    found = json.loads(done.stdout)
    assert (found["device"], found["chosen"], found["signed"]) == ("cpu", "cpu", False)
    assert {run["graph"] for run in found["graphs"]} == {"visual", "prototype", "match"}
    assert all({"subject", "message", "fix"} == set(problem) for problem in found["problems"])


def test_a_missing_device_is_reported_and_ends_with_three() -> None:
    # As a process: exit codes and streams are what scripts see.
    done = subprocess.run(
        [sys.executable, "-m", "maclip_cli.device", "doctor", "--device", "NoSuchExecutionProvider", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, **WIDE},
        timeout=120,
    )
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["chosen"] is None
    assert done.stderr.startswith("error[device-missing]: The device 'NoSuchExecutionProvider'")
    assert "fix: " in done.stderr


def test_a_folder_that_is_no_bundle_is_the_users_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--bundle", str(tmp_path)])
    assert isinstance(done.exception, MaclipError)
    assert done.exception.code == "bundle-missing"
