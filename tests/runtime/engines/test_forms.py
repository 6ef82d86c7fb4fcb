"""Each engine opens the int8 form that it runs fastest, and says so in one line where the bundle lacks it."""

from __future__ import annotations

import dataclasses
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import FRAMES, SIZE, WIDTH, seal
from two_forms import SHIFT, write_two_forms

from maclip_runtime.bundle.manifest import Form, Manifest
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines import open_engine
from maclip_runtime.engines.choice import Timing
from maclip_runtime.engines.forms import best_form, in_best_form, slow_form
from maclip_runtime.errors import MaclipError

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
MEASURED = {
    ("onnxruntime", "dynamic"): 110.0,
    ("onnxruntime", "static"): 217.0,
    ("openvino", "static"): 84.0,
    ("openvino", "dynamic"): 1700.0,
}


def form_that_ran(bundle: Path, device: str) -> str:
    """By what its features are."""
    inputs: dict[str, Any] = {
        "frames": np.zeros((1, FRAMES, SIZE, SIZE, 3), np.uint8),
        "text": np.zeros((1, WIDTH), np.float32),
        "has_text": np.zeros(1, np.bool_),
    }
    (features,) = open_engine(Bundle.open(bundle), device).run("visual", **inputs)
    return "static" if features.mean() > SHIFT / 2 - 0.5 else "dynamic"


@pytest.mark.parametrize(
    ("device", "form"), [("cpu", "dynamic"), pytest.param("openvino", "static", marks=needs_openvino)]
)
def test_an_engine_opens_its_form_by_rule(device: str, form: str, tmp_path: Path) -> None:
    assert form_that_ran(write_two_forms(tmp_path / "b"), device) == form


def test_an_engine_opens_the_form_that_the_manifest_names(tmp_path: Path) -> None:
    swapped = {("onnxruntime", "dynamic"): 9.0, ("onnxruntime", "static"): 5.0}
    path = write_two_forms(tmp_path / "b", steps=swapped)
    assert form_that_ran(path, "cpu") == "static"
    manifest = Bundle.open(path).manifest
    assert manifest.pairs is not None
    assert manifest.pairs.best == {"onnxruntime": "static"}
    # Figures of another architecture say nothing here, and those of a CPU nothing of a GPU.
    elsewhere = dataclasses.replace(manifest, pairs=dataclasses.replace(manifest.pairs, architecture="riscv64"))
    assert best_form(elsewhere, "cpu") == "dynamic"
    assert best_form(manifest, "cuda") == best_form(manifest, "tensorrt") == "static"


def test_what_was_measured_here_comes_first(tmp_path: Path) -> None:
    manifest = Bundle.open(write_two_forms(tmp_path / "b", steps=MEASURED)).manifest
    assert best_form(manifest, "cpu") == "dynamic"
    timings = (Timing("cpu", "static", 3.0), Timing("cpu", "dynamic", 4.0), Timing("openvino", "dynamic", 1.0))
    assert best_form(manifest, "cpu", timings) == "static"


@pytest.mark.parametrize(
    ("device", "only", "steps", "words"),
    [
        ("cpu", "static", MEASURED, "217 ms a step where dynamic takes 110, on a processor"),
        ("openvino", "dynamic", MEASURED, "1,700 ms a step where static takes 84"),
        ("cpu", "static", None, "about 2 times"),
        ("cuda", "dynamic", None, "not in int8"),
    ],
)
def test_a_bundle_with_the_wrong_form_only_says_so_in_one_line(
    device: str, only: str, steps: dict[tuple[str, str], float] | None, words: str, tmp_path: Path
) -> None:
    line = slow_form(Bundle.open(write_two_forms(tmp_path / "b", steps=steps, only=only)).manifest, device)
    assert line is not None
    assert words in line
    assert "--quantization both" in line
    assert "\n" not in line


def test_the_line_is_logged_once_and_the_engine_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_two_forms(tmp_path / "b", only="static")
    with caplog.at_level(logging.WARNING, "maclip"):
        assert form_that_ran(path, "cpu") == "static"
    assert [record.message.split(" int8 form")[0] for record in caplog.records] == [
        "device: the bundle holds only the static"
    ]


@pytest.mark.parametrize("device", ["cpu", "openvino", "cuda", "tensorrt"])
def test_a_bundle_of_both_forms_or_of_none_has_no_line(device: str, bundle: Path, tmp_path: Path) -> None:
    assert slow_form(Bundle.open(write_two_forms(tmp_path / "b", steps=MEASURED)).manifest, device) is None
    plain = Bundle.open(bundle)
    assert slow_form(plain.manifest, device) is None
    assert in_best_form(plain, device) is plain


def test_a_form_that_is_no_form_of_the_bundle_is_refused(tmp_path: Path) -> None:
    path = write_two_forms(tmp_path / "b")
    manifest = Bundle.open(path).manifest
    match = manifest.graphs["match"]
    for forms in (
        {"static": Form({"none": match}, {}, None)},
        {"static": Form({"visual": match}, {}, None)},  # other inputs
        {"dynamic": manifest.forms["static"]},  # the first form again
        {"sparse": manifest.forms["static"]},
    ):
        seal(path, dataclasses.replace(manifest, forms=forms))
        with pytest.raises(MaclipError) as caught:
            Bundle.open(path)
        assert caught.value.code == "bundle-schema"
    outside = dataclasses.replace(manifest.forms["static"].graphs["visual"], file="../visual.onnx")
    seal(path, dataclasses.replace(manifest, forms={"static": Form({"visual": outside}, {}, None)}))
    with pytest.raises(MaclipError) as caught:
        Bundle.open(path)
    assert caught.value.code == "bundle-corrupt"


def test_the_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = Bundle.open(write_two_forms(tmp_path / "b", steps=MEASURED)).manifest
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.form_names == ("dynamic", "static")
    with pytest.raises(ValueError, match="static"):
        manifest.in_form("dynamic").in_form("static")
