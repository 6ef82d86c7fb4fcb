"""`maclip-run info`: everything a manifest says, for people and for programs."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import pytest
from tiny_bundle import seal, write_bundle
from typer.testing import CliRunner, Result

from maclip_cli.device.app import app
from maclip_runtime import Bundle
from maclip_runtime.bundle.figures import GateAccuracy, GateFigure, Pair, Pairs
from maclip_runtime.bundle.manifest import Census, EngineFile, Form, Provenance


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A bundle whose manifest has everything; one of its figures overflowed and was allowed."""
    path = write_bundle(tmp_path / "bundle", limit=1.25)
    manifest = Bundle.open(path).manifest
    (path / "visual.engine").write_bytes(b"engine")
    visual = dataclasses.replace(manifest.graphs["visual"], census=Census({"float16": 1 << 20}, {"float16": 41}, 97))
    gate = {
        "visual": GateFigure(2.5e-4, 0.99991, None, None, 0.999, 16),
        "match": GateFigure(math.inf, math.nan, 3e-3, 1e-4, None, 16),
        "prototype": GateFigure(4.7e-4, 0.8827, None, None, None, 3),  # not checked itself, like a stem
    }
    accuracy = GateAccuracy(0.815, 0.79, 0.025, 0.004, 0.01, 0.05, 5, 1, 400, "16 clips [drawn]")
    static = dataclasses.replace(visual, census=Census({}, {"int8": 24}, 88))
    full = dataclasses.replace(
        manifest,
        graphs={**manifest.graphs, "visual": visual},
        precision="int8",
        quantization="dynamic",
        forms={"static": Form({"visual": static}, {}, accuracy)},
        pairs=Pairs(
            "a processor, 2 cores",
            "x86_64",
            (Pair("static", "openvino", "2026.4", 84.4, 1.0), Pair("dynamic", "onnxruntime", "1.31", 1700.2, 20.1)),
            {"openvino": "static", "onnxruntime": "dynamic"},
        ),
        gate=gate,
        gate_accuracy=accuracy,
        loss_allowed=True,
        engines=(EngineFile("visual", "visual.engine", "tensorrt-rtx", "1.2.0", ("8.6", "8.9"), "B 1 to 8"),),
        provenance=Provenance("my-run", "ab" * 32, "c" * 40 + "-dirty", "de" * 32, {"torch": "2.9.1"}, "2026-11-21"),
    )
    seal(path, full)
    (path / "model.sig").write_text("{}")
    return path


def info(*args: object) -> Result:
    done = CliRunner().invoke(app, ["info", *map(str, args)], env={"COLUMNS": "220"})
    assert done.exit_code == 0, done.output
    return done


def row(text: str, key: str) -> str:
    """The line of a table whose first cell is `key`."""
    (line,) = [line for line in text.splitlines() if re.match(rf"[│┃|]\s*{re.escape(key)}\s*[│┃|]", line)][:1]
    return line


def test_people_read_precision_gate_accuracy_engines_and_origin(measured: Path) -> None:
    shown = info(measured).stdout
    assert "int8 (dynamic, static)" in row(shown, "precision")
    assert all(word in row(shown, "visual, static") for word in ("88", "24 int8"))
    assert all(word in row(shown, "openvino 2026.4") for word in ("static", "84.4", "1.00", "opens this form"))
    assert "1,700" in row(shown, "onnxruntime 1.31")
    assert "static: 5-way 1-shot accuracy" in shown
    assert "1.25" in row(shown, "limit")
    assert "unit" in row(shown, "text length")
    assert "yes" in row(shown, "signature")
    assert all(word in row(shown, "visual") for word in ("97", "float16 1.0 MiB", "41 float16"))
    assert "2.5e-04" in shown
    assert "0.999910 (>= 0.999)" in shown
    assert "inf (<= 0.0001)" in shown
    assert "4.7e-04" in shown
    assert "0.8827" not in shown
    assert "yes" in row(shown, "names used")
    assert "torch 81.5%, bundle 79.0%, loss 2.50% ± 0.40% (limit 1.0%; 400 episodes, 16 clips [drawn])" in shown
    assert "--allow-loss" in shown
    assert "tensorrt-rtx 1.2.0" in shown
    assert "8.6, 8.9" in shown
    assert "my-run" in row(shown, "run")
    assert "ab" * 32 in row(shown, "sha256 of its adapters")
    assert "de" * 32 in row(shown, "sha256 of its clips' list")
    assert "c" * 40 + "-dirty" in row(shown, "maclip")
    assert "torch 2.9.1" in row(shown, "libraries")


def test_programs_get_the_whole_manifest_in_one_line_of_json(measured: Path) -> None:
    (line,) = info(measured, "--json").stdout.splitlines()

    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is not JSON")

    said = json.loads(line, parse_constant=refuse)
    manifest = Bundle.open(measured).manifest
    assert set(said) == {field.name for field in dataclasses.fields(manifest)} | {"bytes", "signed"}
    assert said["provenance"] == dataclasses.asdict(manifest.provenance)
    assert said["graphs"]["visual"]["census"] == {
        "weights": {"float16": 1 << 20},
        "products": {"float16": 41},
        "nodes": 97,
    }
    assert said["gate"]["visual"]["cosine"] == 0.99991
    assert said["gate"]["match"]["relative"] is None  # infinite
    assert said["signed"] is True
    assert said["bytes"] == sum(file.stat().st_size for file in measured.iterdir()) - sum(
        (measured / name).stat().st_size for name in ("manifest.json", "model.sig")
    )


def test_a_bundle_of_which_little_is_known_is_shown_too(bundle: Path) -> None:
    shown = info(bundle).stdout
    assert "not measured" in row(shown, "limit")
    assert "none" in row(shown, "signature")
    assert "few-shot accuracy was not compared" in shown
    assert "compiled engines" not in shown
