"""`maclip-run build` without NVIDIA: it times the engines, keeps the choice, and compiles for the fastest."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from two_forms import write_two_forms
from typer.testing import CliRunner

from maclip_cli.device.app import app
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.choice import Timing, keep_timings, read_timings
from maclip_runtime.errors import MaclipError

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")


def built(bundle: Path, cache: Path, *options: str) -> list[dict[str, Any]]:
    command = ["build", str(bundle), "--json", *options]
    done = CliRunner().invoke(app, command, env={"MACLIP_CACHE": str(cache)})
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_auto_times_every_engine_and_keeps_the_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, cache = write_two_forms(tmp_path / "bundle"), tmp_path / "cache"
    monkeypatch.setenv("MACLIP_CACHE", str(cache))
    keep_timings(Bundle.open(bundle), (Timing("cpu", "dynamic", 1e6),))  # is measured anew
    lines = built(bundle, cache)
    timed = [line for line in lines if "step_ms" in line]
    assert [line["chosen"] for line in timed] == [True, *[False] * (len(timed) - 1)]
    kept = read_timings(Bundle.open(bundle))
    assert [(one.device, one.form, one.step_ms) for one in kept] == [
        (line["device"], line["form"], line["step_ms"]) for line in timed
    ]
    assert kept[0].step_ms < 1e6


@needs_openvino
def test_openvino_compiles_each_graph_once(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACLIP_CACHE", str(tmp_path))
    for origin in ("compiled", "cached"):
        lines = built(bundle, tmp_path, "--device", "openvino-f32")
        assert {(line["graph"], line["origin"]) for line in lines} == {
            (graph, origin) for graph in ("visual", "prototype", "match")
        }
    shown = CliRunner().invoke(app, ["build", str(bundle), "--device", "openvino-f32"])
    assert "cached" in shown.stdout


def test_a_device_with_nothing_to_build_is_refused(bundle: Path) -> None:
    done = CliRunner().invoke(app, ["build", str(bundle), "--device", "cpu"])
    assert isinstance(done.exception, MaclipError)
    assert done.exception.code == "device-unknown"
