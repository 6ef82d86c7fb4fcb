"""`maclip bench`: how its figures fit together, and what it says when something is wrong. No speed is asserted."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

import maclip_export.bench.measure as measuring
from maclip.backbones.loading import TINY
from maclip.config import TrainConfig
from maclip.model.maclip import MaClip
from maclip.runs import (
    ADAPTERS_FILE,
    RUN_FORMAT,
    ClassNames,
    RunConfig,
    write_adapters,
    write_config,
)
from maclip_cli.workstation.app import app
from maclip_cli.workstation.bench import _source
from maclip_export.bench.plan import RunnerSpec, bundle_specs
from maclip_runtime.bundle.manifest import Backbone
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.errors import MaclipError

FEW = ("--no-compile", "--repeats", "2", "--batch", "2", "--threads", "1")


def bench(*args: object) -> tuple[str, BaseException | None]:
    done = CliRunner().invoke(app, ["bench", *map(str, args)])
    return done.output, done.exception


@pytest.fixture(scope="module")
def run_folder(shallow: tuple[MaClip, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that holds the shallow bundle's model."""
    model, _ = shallow
    run = tmp_path_factory.mktemp("run") / "run"
    run.mkdir()
    backbone = Backbone(TINY, "none", model.backbone.sha256)
    write_config(
        run,
        RunConfig(
            RUN_FORMAT, "0", backbone, model.config, TrainConfig(), "nowhere", ClassNames(),
            chosen=None, data_sha256="0" * 64, lists=None, init=None,
        ),
    )  # fmt: skip
    write_adapters(run / ADAPTERS_FILE, model)
    return run


@pytest.fixture(scope="module")
def measured(
    shallow: tuple[MaClip, Path], run_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Any], Path]:
    """What the command printed, its JSON and its figure; one of its runners has no graph to read."""
    folder = tmp_path_factory.mktemp("bench")

    def with_broken(bundle: Bundle, name: str) -> list[RunnerSpec]:
        specs = bundle_specs(bundle, name)
        return [*specs, replace(specs[0], name="broken", graphs=(("visual", folder / "absent.onnx"),))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "bundle_specs", with_broken)
        out = ("--json", folder / "bench.json", "--figure", folder / "bench.png")
        output, error = bench(run_folder, shallow[1], *FEW, *out)
    assert error is None, output
    return output, json.loads((folder / "bench.json").read_text(encoding="utf-8")), folder / "bench.png"


def test_bench_measures_torch_and_a_bundle_on_every_engine(measured):
    output, facts, figure = measured
    rows = {(row["engine"], row["precision"]): row for row in facts["rows"] if row["failed"] is None}
    assert ("torch", "float32") in rows
    assert ("onnxruntime", "float32") in rows
    assert (("openvino", "float32") in rows) == (find_spec("openvino") is not None)
    for (engine, precision), row in rows.items():
        assert row["cosine"] > (0.999 if precision == "bf16" else 0.999999), engine  # they compute the same
        assert engine in row["runner"]
        assert row["runner"] in output
        assert 0 < row["memory_mib"] < 8192
    assert Image.open(figure).width > 1000


def test_figures_of_a_bench_agree_with_each_other(measured):
    _, facts, _ = measured
    rows = [row for row in facts["rows"] if row["failed"] is None]
    eager = rows[0]
    peaks = {(peak["device"], peak["precision"]): peak["flops"] for peak in facts["peaks"]}
    assert eager["runner"] == "eager torch"
    for row in rows:
        for latency in (row["clip"], row["step"]):
            assert 0 < latency["best"] <= latency["p50"] <= latency["p90"] <= latency["p99"]
        assert row["ratio"] == pytest.approx(eager["clip"]["p50"] / row["clip"]["p50"])
        assert row["step_ratio"] == pytest.approx(eager["step"]["p50"] / row["step"]["p50"])
        seconds = row["clip"]["best"] / 1000
        assert row["peak_share"] == pytest.approx(facts["flops"] / seconds / peaks[row["device"], row["precision"]])
        assert 0 < row["peak_share"] < 1.5
    assert facts["settings"] == {"repeats": 2, "batch": 2, "threads": 1}
    assert facts["machine"]["libraries"]["torch"]
    assert facts["machine"]["cores"] >= 1


def test_a_runner_that_fails_is_a_row_that_says_why(measured):
    output, facts, _ = measured
    (broken,) = [row for row in facts["rows"] if row["runner"] == "broken"]
    assert "absent.onnx" in broken["failed"]
    assert broken["clip"] is None
    assert "absent.onnx" in output


def test_no_row_is_computed_that_is_thrown_away(shallow, measured):
    """The operations of a clip, counted by hand: dropped rows as keys and values only, the last block's class row."""
    model, _ = shallow
    visual = model.clip.visual
    rows, width = visual.positional_embedding.shape
    frames, keys = model.config.frames, rows + 1  # with the temporal row; a query has no text row
    plain = 24 * rows * width**2 + 4 * rows**2 * width
    over_time = 9 * width**2 + 4 * frames * width
    adapted = (4 * keys + 22 * rows) * width**2 + 4 * keys * rows * width + over_time
    last = (4 * keys + 22) * width**2 + 4 * keys * width + over_time
    patches = 2 * (rows - 1) * visual.conv1.weight[0].numel() * width
    projection = 2 * width * model.feature_width
    blocks = (model.layers - 2) * plain + adapted + last
    assert measured[1]["flops"] == frames * (patches + blocks + projection)


def test_a_bundle_of_another_model_is_refused(bundle: Path):
    _, error = bench("none", bundle, *FEW, "--backbone", "tiny", "--pretrained", "none", "--adapted-depth", 0)
    assert isinstance(error, MaclipError)
    assert error.code == "contract-mismatch"


def test_without_a_run_the_model_has_the_bundles_kind_of_adapters(shallow):
    """A bundle that says of no block that it is adapted, and has a tower, is a ladder's."""
    of_blocks = Bundle.open(shallow[1])
    beside = SimpleNamespace(manifest=replace(of_blocks.manifest, adapted_depth=0))
    whole = SimpleNamespace(manifest=replace(beside.manifest, graphs={}))
    for bundle, depth, kind in (
        (of_blocks, None, ("blocks", 2)),
        (of_blocks, 1, ("blocks", 1)),
        (of_blocks, 0, ("none", None)),
        (beside, None, ("ladder", None)),
        (beside, 1, ("blocks", 1)),
        (whole, None, ("none", None)),
    ):
        source = _source("none", bundle, None, None, depth)
        assert (source.adapters, source.adapted_depth) == kind
        model = source.load()
        assert (model.config.adapters.kind, model.adapted_depth) == (kind[0], kind[1] or 0)


def test_bad_options_are_refused_before_anything_is_measured(bundle: Path, tmp_path: Path):
    for args, code in [
        (("none", tmp_path), "bundle-missing"),
        (("run", bundle, "--backbone", "tiny"), "option-invalid"),
        (("none", bundle, "--figure", tmp_path / "figure.txt"), "option-invalid"),
        (("none", bundle, "--json", tmp_path / "no" / "where.json"), "output-unwritable"),
    ]:
        _, error = bench(*args)
        assert isinstance(error, MaclipError), args
        assert error.code == code
