"""A Triton model repository: read back with Triton's own protobuf definition, its models run by onnxruntime."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from tiny_bundle import seal, write_bundle

pytest.importorskip("tritonclient.grpc", reason="Triton's client library is not installed")

from tritonclient.grpc import model_config_pb2
from tritonclient.utils import triton_to_np_dtype

from maclip_export.targets import triton
from maclip_export.targets.triton import write_repository
from maclip_runtime import Bundle, MaclipError
from maclip_runtime.engines.encoder import Encoder

NUMPY = {"uint8": np.uint8, "bool": bool, "float32": np.float32}


def move_weights(file: Path) -> None:
    """Make the graph's constants weights in a file beside it, as large ones are."""
    model = onnx.load(file)
    for node in [node for node in model.graph.node if node.op_type == "Constant" and node.attribute[0].f]:
        value = np.asarray(node.attribute[0].f, np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, node.output[0]))
        model.graph.node.remove(node)
    onnx.save(model, file, save_as_external_data=True, location=f"{file.name}.data", size_threshold=0)


def read(model: Path) -> model_config_pb2.ModelConfig:
    """Parse a config.pbtxt; an unknown field or a wrong type is an error."""
    return text_format.Parse((model / "config.pbtxt").read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


def numpy_type(data_type: int) -> type:
    return triton_to_np_dtype(model_config_pb2.DataType.Name(data_type).removeprefix("TYPE_"))


def backend_shape(config: model_config_pb2.ModelConfig, tensor, dims, batch: int) -> list[int]:
    """The shape that reaches onnxruntime for `dims` of a client: reshaped, then with the batch before it."""
    inner = list(tensor.reshape.shape) if tensor.HasField("reshape") else list(dims)
    return [batch, *inner] if config.max_batch_size else inner


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path]:
    """The repository of a bundle with stem and tower, whose weights lie beside its graphs."""
    folder = tmp_path_factory.mktemp("triton")
    bundle, out = write_bundle(folder / "bundle", split=True), folder / "models"
    manifest = Bundle.open(bundle).manifest
    for name in manifest.graphs:
        move_weights(bundle / f"{name}.onnx")
    seal(bundle, manifest)
    names = write_repository(bundle, out)
    assert names == [f"maclip_{graph}" for graph in [*Bundle.open(bundle).manifest.graphs, "visual"]]
    assert sorted(names) == sorted(path.name for path in out.iterdir())
    return Bundle.open(bundle), out


def test_every_tensor_has_the_manifests_name_type_and_shape(repository):
    bundle, out = repository
    for name, graph in bundle.manifest.graphs.items():
        config = read(out / f"maclip_{name}")
        assert config.name == f"maclip_{name}"
        assert (config.backend, config.platform) == ("onnxruntime", "onnxruntime_onnx")
        for written, specs in ((config.input, graph.inputs), (config.output, graph.outputs)):
            assert [tensor.name for tensor in written] == [spec.name for spec in specs]
            for tensor, spec in zip(written, specs, strict=True):
                assert numpy_type(tensor.data_type) == NUMPY[spec.dtype]
                shape = backend_shape(config, tensor, tensor.dims, batch=-1)
                assert shape == [-1 if isinstance(n, str) else n for n in spec.shape]
                assert len(tensor.dims) >= 1  # Triton has no tensor without dimensions


def test_graphs_with_one_free_axis_are_batched_and_match_is_not(repository):
    bundle, out = repository
    for name in bundle.manifest.graphs:
        config = read(out / f"maclip_{name}")
        batched = name != "match"
        assert (config.max_batch_size > 1) is batched
        assert config.HasField("dynamic_batching") is batched
        if batched:
            sizes = config.dynamic_batching.preferred_batch_size
            assert sorted(sizes) == list(sizes)
            assert 1 <= sizes[0] < sizes[-1] == config.max_batch_size
            assert 0 < config.dynamic_batching.max_queue_delay_microseconds <= 10_000
    has_text = {tensor.name: tensor for tensor in read(out / "maclip_tower").input}["has_text"]
    assert (list(has_text.dims), list(has_text.reshape.shape)) == ([1], [])
    dims = {tensor.name: list(tensor.dims) for tensor in read(out / "maclip_match").input}
    frames, width = bundle.manifest.frames, bundle.manifest.feature_width
    assert dims["features"] == dims["prototypes"] == [-1, frames, width]
    assert (dims["text"], dims["has_text"]) == ([-1, width], [-1])


def test_a_server_is_told_versions_devices_and_what_made_it(repository):
    bundle, out = repository
    for name in bundle.manifest.graphs:
        config = read(out / f"maclip_{name}")
        assert config.version_policy.latest.num_versions == 1
        assert [(group.count, group.kind) for group in config.instance_group] == [
            (1, model_config_pb2.ModelInstanceGroup.KIND_AUTO)
        ]
        facts = {key: value.string_value for key, value in config.parameters.items()}
        assert facts["maclip_contract"] == bundle.manifest.contract
        assert facts["maclip_precision"] == "float32"


def test_onnxruntime_takes_what_the_warm_up_sends(repository):
    _, out = repository
    assert_warm_up_runs(out)


def test_a_real_export_is_served(shallow, tmp_path: Path):
    _, bundle = shallow
    write_repository(bundle, tmp_path / "models")
    assert_warm_up_runs(tmp_path / "models")
    assert_stem_and_tower_in_one(bundle, tmp_path / "models")


def test_an_int8_export_is_served_with_stem_and_tower_in_one(eight, tmp_path: Path):
    _, bundle = eight
    write_repository(bundle, tmp_path / "models")
    assert_stem_and_tower_in_one(bundle, tmp_path / "models")


def assert_stem_and_tower_in_one(bundle: Path, models: Path) -> None:
    """`maclip_visual` gives what the bundle's stem and tower give, for clips with text and without."""
    encoder = Encoder(Bundle.open(bundle), "cpu")
    manifest, rng = encoder.bundle.manifest, np.random.default_rng(0)
    size = manifest.preprocess.size
    frames = rng.integers(0, 256, (3, manifest.frames, size, size, 3), dtype=np.uint8)
    text = rng.normal(size=(3, manifest.feature_width)).astype(np.float32)
    for has_text in (False, True):
        given = {"frames": frames, "text": text * has_text, "has_text": np.full(3, has_text)}
        file = models / "maclip_visual" / "1" / "model.onnx"
        (made,) = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, given)
        expected = encoder.features(frames, text if has_text else None)
        # An int8 graph finds the ranges of activations over all frames of a run: those of one clip, or of all.
        loose = 0.02 * np.abs(expected).max() if manifest.precision == "int8" else 1e-5
        np.testing.assert_allclose(made, expected, atol=loose)


def assert_warm_up_runs(out: Path) -> None:
    """Send what each configuration's warm-up says to the model beside it; what comes back is as configured."""
    for model in sorted(out.iterdir()):
        config = read(model)
        session = onnxruntime.InferenceSession(
            model / "1" / config.default_model_filename, providers=["CPUExecutionProvider"]
        )
        assert [sample.batch_size for sample in config.model_warmup] == (
            [1, config.max_batch_size] if config.max_batch_size else [1]
        )
        for sample in config.model_warmup:
            feeds = {}
            for tensor in config.input:
                given = sample.inputs[tensor.name]
                assert given.zero_data
                assert given.data_type == tensor.data_type
                assert all(n == d or d == -1 for n, d in zip(given.dims, tensor.dims, strict=True))
                assert min(given.dims) > 0  # a warm-up has no free axes
                shape = backend_shape(config, tensor, given.dims, sample.batch_size)
                feeds[tensor.name] = np.zeros(shape, numpy_type(given.data_type))
            outputs = session.run([tensor.name for tensor in config.output], feeds)
            for tensor, value in zip(config.output, outputs, strict=True):
                assert value.dtype == numpy_type(tensor.data_type)
                wanted = backend_shape(config, tensor, tensor.dims, sample.batch_size)
                assert all(n == w or w == -1 for n, w in zip(value.shape, wanted, strict=True))


def test_the_models_answer_as_the_bundle_does(repository):
    bundle, out = repository
    rng = np.random.default_rng(0)
    size = bundle.manifest.preprocess.size
    frames = rng.integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    answers = [
        onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"frames": frames})[0]
        for file in (bundle.graph_file("stem"), out / "maclip_stem" / "1" / "model.onnx")
    ]
    assert answers[0].std() > 0
    np.testing.assert_array_equal(*answers)


def test_a_bundle_with_one_visual_graph_is_served_too(bundle: Path, tmp_path: Path):
    names = write_repository(bundle, tmp_path / "models")
    assert names == ["maclip_visual", "maclip_prototype", "maclip_match"]
    config = read(tmp_path / "models" / "maclip_visual")
    assert [list(tensor.dims) for tensor in config.input] == [[4, 32, 32, 3], [12], [1]]
    assert config.max_batch_size > 0


def test_weights_are_copies_with_one_name(repository):
    bundle, out = repository
    weights = list(out.glob("*/1/*.data"))
    assert len(weights) == len(bundle.manifest.graphs) + 2  # `maclip_visual` has those of stem and tower
    for file in [*weights, *bundle.path.iterdir()]:
        assert file.stat().st_nlink == 1  # onnx refuses weights with two names
    for path in out.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


def test_a_repository_is_replaced_only_when_told_and_only_when_it_is_ours(bundle: Path, tmp_path: Path):
    def refused(code: str, place: Path, force: bool = False) -> None:
        with pytest.raises(MaclipError) as caught:
            write_repository(bundle, place, force)
        assert caught.value.code == code

    out = tmp_path / "models"
    write_repository(bundle, out)
    (out / "maclip_match" / "config.pbtxt").write_text("old")
    refused("output-exists", out)
    assert (out / "maclip_match" / "config.pbtxt").read_text() == "old"
    write_repository(bundle, out, force=True)
    assert read(out / "maclip_match").name == "maclip_match"
    (out / "resnet" / "1").mkdir(parents=True)  # someone else's model beside ours
    (out / "resnet" / "config.pbtxt").write_text('name: "resnet"')
    refused("output-exists", out, force=True)
    assert (out / "resnet").is_dir()
    (tmp_path / "file").write_text("")
    refused("output-exists", tmp_path / "file", force=True)
    refused("output-unwritable", tmp_path / "file" / "models")
    assert {path.name for path in tmp_path.iterdir()} == {"models", "file"}


def test_a_fault_half_way_leaves_the_old_repository(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "models"
    write_repository(bundle, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    copyfile = shutil.copyfile

    def full(source: Path, target: Path) -> None:
        if "match" in str(target):
            raise OSError(28, "No space left on device")
        copyfile(source, target)

    monkeypatch.setattr(triton.shutil, "copyfile", full)
    with pytest.raises(MaclipError) as caught:
        write_repository(bundle, out, force=True)
    assert caught.value.code == "output-unwritable"
    assert "No space left" in caught.value.message
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
