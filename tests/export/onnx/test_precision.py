"""What is asked for is what the file holds: types of weights and products, counted from the written graphs."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from made_once import Once
from random_models import Made, made

from maclip_export.gate.trial import drawn_trial
from maclip_export.onnx.census import census
from maclip_export.options import ExportOptions
from maclip_runtime import MaclipError
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.encoder import Encoder

# What onnxruntime 1.23 (JetPack 6) and TensorRT 10 read.
NEWEST_OPSET, NEWEST_IR = 23, 11
IN_FLOAT32 = {"LayerNormalization", "Softmax", "ReduceL2", "Exp", "Log"}


@pytest.fixture(scope="session")
def half(once: Once) -> Made:
    return made(once, "half", ExportOptions(precision="fp16"))


@pytest.fixture(scope="session")
def static(once: Once) -> Made:
    return made(once, "static", ExportOptions(precision="int8", quantization="static"))


def candidates(bundle: Path) -> list[dict[str, Any]]:
    """The int8 forms that were tried for a bundle."""
    found: list[dict[str, Any]] = json.loads((bundle.parent / "candidates.json").read_text())
    return found


def input_types(path: Path, operators: set[str]) -> set[str]:
    """The types of the first inputs of the nodes with these operators."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    found = {types[node.input[0]] for node in graph.node if node.op_type in operators}
    return {str(onnx.helper.tensor_dtype_to_np_dtype(kind)) for kind in found}


def test_half_precision_multiplies_in_half_and_normalises_in_float32(half):
    _, out = half
    for graph in ("stem", "tower", "prototype"):
        found = census(out / f"{graph}.onnx")
        assert set(found.products) == {"float16"}, graph
        assert found.weights["float16"] > 50 * found.weights["float32"], graph
        assert input_types(out / f"{graph}.onnx", IN_FLOAT32) == {"float32"}, graph


def test_half_precision_matches_in_float32(half):
    _, out = half
    found = census(out / "match.onnx")
    assert set(found.products) == {"float16", "float32"}
    assert found.weights["float16"] > found.weights["float32"]
    assert input_types(out / "match.onnx", {"Exp", "Log", "Sub", "Max", "ReduceL2", "Softmax"}) == {"float32"}


def test_pixels_are_normalised_in_float32(half):
    _, out = half
    assert input_types(out / "stem.onnx", {"Sub", "Div"}) == {"float32"}


def test_inputs_and_outputs_keep_their_types(half, eight, static):
    for _, out in (half, eight, static):
        for spec in Bundle.open(out).manifest.graphs.values():
            graph = onnx.load(out / spec.file, load_external_data=False).graph
            for stated, value in zip((*spec.inputs, *spec.outputs), (*graph.input, *graph.output), strict=True):
                kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
                assert (value.name, str(kind)) == (stated.name, stated.dtype)


def test_int8_is_in_the_linear_layers_and_nowhere_else(eight, static):
    for _, out in (eight, static):
        graph = onnx.load(out / "tower.onnx").graph
        constants = {tensor.name for tensor in graph.initializer}
        assert not [n.name for n in graph.node if n.op_type in ("MatMul", "Gemm") and constants & set(n.input[:2])]
        found = census(out / "tower.onnx")
        assert found.products["int8"] > 20  # the linear layers of two blocks and their adapters
        assert found.products["float32"] == 8  # scores and sums of two blocks, over time and over tokens
        assert found.weights["int8"] > 10 * found.weights["float32"]
        assert census(out / "match.onnx").products.keys() == {"float32"}
        assert list(Bundle.open(out).manifest.form_names) == [one["form"] for one in candidates(out)]


def test_int8_weights_have_a_scale_for_each_channel(static):
    _, out = static
    graph = onnx.load(out / "tower.onnx").graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    by_channel = [n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in arrays]
    weights = [n for n in by_channel if arrays[n.input[0]].ndim == 2]
    assert len(weights) > 20
    for node in weights:
        assert arrays[node.input[0]].dtype == np.int8
        assert arrays[node.input[1]].shape == (arrays[node.input[0]].shape[1],)
        assert not arrays[node.input[2]].any()  # symmetric: TensorRT takes no other
    assert not [n for n in graph.node if n.op_type in ("DynamicQuantizeLinear", "MatMulInteger")]


def test_both_int8_forms_are_in_the_bundle_and_measured_with_each_engine(eight):
    assert candidates(eight[1]) == [
        {"form": "dynamic", "cosine": pytest.approx(1, abs=0.01), "kept": True},
        {"form": "static", "cosine": pytest.approx(1, abs=0.01), "kept": True},
    ]
    bundle = Bundle.open(eight[1])
    pairs = bundle.manifest.pairs
    assert pairs is not None
    engines = {"onnxruntime", "openvino"} if find_spec("openvino") else {"onnxruntime"}
    assert {(one.engine, one.form) for one in pairs.measured} == {
        (engine, form) for engine in engines for form in ("dynamic", "static")
    }
    assert set(pairs.best) == engines
    for engine, form in pairs.best.items():
        own = {one.form: one.step_ms for one in pairs.measured if one.engine == engine}
        assert own[form] == min(own.values())
    assert pairs.measured[0].ratio == 1
    # Each form is what it says, and was compared with torch.
    for form, operator in (("dynamic", "MatMulInteger"), ("static", "DequantizeLinear")):
        view = bundle.in_form(form)
        for name in ("stem", "tower"):
            operators = {node.op_type for node in onnx.load(view.graph_file(name), load_external_data=False).graph.node}
            assert operator in operators
            assert view.manifest.graphs[name].census == census(view.graph_file(name))
        assert 0.99 < view.manifest.gate["tower"].cosine < 1
        assert view.manifest.gate_accuracy is not None


def test_the_second_form_costs_next_to_nothing_on_the_disk(eight, static):
    both, one = ([file.stat().st_size for file in out.glob("*.onnx*")] for _, out in (eight, static))
    assert sum(both) < sum(one) + 2 * 150_000  # the second graphs themselves, and the few tensors that differ
    digests = {Bundle.open(eight[1]).in_form(form).graph_digest("stem") for form in ("dynamic", "static")}
    assert len(digests) == 2


def test_features_stay_near_torchs(half, eight, static):
    for (model, out), least in ((half, 0.999), (eight, 0.99), (static, 0.99)):
        encoder = Encoder(Bundle.open(out), "cpu")
        clips = drawn_trial(model, 1, 5, seed=7).frames
        with torch.no_grad():
            expected = model.features(clips).numpy()
        found = encoder.features(clips.numpy())
        cosine = (found * expected).sum(-1) / np.linalg.norm(found, axis=-1) / np.linalg.norm(expected, axis=-1)
        assert cosine.min() > least


def test_the_manifest_says_what_the_files_hold(half, eight):
    for (_, out), precision in ((half, "fp16"), (eight, "int8")):
        manifest = Bundle.open(out).manifest
        assert manifest.precision == precision
        for name, spec in manifest.graphs.items():
            assert spec.census == census(out / spec.file), name
        assert manifest.gate_accuracy is not None
        assert manifest.gate_accuracy.loss + manifest.gate_accuracy.interval <= 0.01
        assert manifest.gate["match"].probability is not None


def test_every_graph_is_readable_by_jetpacks_onnxruntime_and_free_of_leftovers(shallow, half, eight, static):
    for out in (shallow[1], half[1], eight[1], static[1]):
        for path in out.glob("*.onnx"):  # of both int8 forms
            onnx.checker.check_model(str(path), full_check=True)
            model = onnx.load(path, load_external_data=False)
            assert model.ir_version <= NEWEST_IR
            assert {entry.domain: entry.version for entry in model.opset_import if entry.domain == ""}[
                ""
            ] <= NEWEST_OPSET
            assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
            operators = [node.op_type for node in model.graph.node]
            assert "Identity" not in operators
            assert "Constant" not in operators
            assert not any(node.metadata_props for node in model.graph.node)  # nobody's paths


def test_layer_norm_and_gelu_are_single_operators(shallow):
    _, out = shallow
    operators = [node.op_type for node in onnx.load(out / "tower.onnx", load_external_data=False).graph.node]
    assert (
        operators.count("LayerNormalization") == 9
    )  # two blocks of four (tokens, moved, text, before the MLP), ln_post
    assert operators.count("Gelu") == 8  # two blocks of MLP and three adapters
    assert not {"ReduceMean", "Pow", "Erf"} & set(operators)


def test_weights_lie_beside_the_graph_once(half, eight):
    for _, out in (half, eight):
        for name in ("stem", "tower"):
            assert (out / f"{name}.onnx").stat().st_size < 200_000
            spec = Bundle.open(out).manifest.graphs[name]
            stored = (out / f"{name}.onnx.data").stat().st_size
            assert stored <= 1.05 * sum(spec.census.weights.values()) + 4096 * 100


def test_options_are_checked_before_any_work():
    for wrong in ({"precision": "fp8"}, {"quantization": "best"}):
        with pytest.raises(MaclipError) as caught:
            ExportOptions(**wrong)
        assert caught.value.code == "option-invalid"


def test_calibration_with_one_clip_is_refused(tmp_path, eight):
    from videos import color_video

    from maclip.data.dataset import open_folders
    from maclip_export.gate.trial import calibration_clips

    for name in ("red", "green"):
        (tmp_path / name).mkdir()
        color_video(tmp_path / name / "0.mp4", [(name, 1.0)])
    with pytest.raises(MaclipError) as caught:
        calibration_clips(open_folders(tmp_path), eight[0])
    assert caught.value.code == "calibration-too-small"
    assert "2 clips" in caught.value.message
