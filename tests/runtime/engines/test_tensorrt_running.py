"""Running an engine is tested up to the GPU; a machine without library or GPU is told so.

There is no GPU where these tests run: `StandIn` takes the place of the library's execution context, so what is
tested of running is the way to it (which engine, shapes, addresses, bytes, pieces), not the library's arithmetic.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from small_engines import built, manifest_of, origins
from tiny_bundle import FRAMES, SIZE, WIDTH, seal, text_features, write_bundle

from maclip_runtime.bundle.manifest import EngineFile
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines import open_engine
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.engines.tensorrt import runner
from maclip_runtime.engines.tensorrt.builder import build_engine
from maclip_runtime.engines.tensorrt.cache import EngineCache
from maclip_runtime.engines.tensorrt.cuda import Cuda
from maclip_runtime.engines.tensorrt.library import find_library
from maclip_runtime.engines.tensorrt.profile import MaxSizes, Profile, profile_of
from maclip_runtime.errors import MaclipError

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed (x86-64 only)")


def gpu_is_there() -> bool:
    try:
        return bool(Cuda("rtx").capability)
    except MaclipError:
        return False


@pytest.mark.parametrize(("device", "module"), [("rtx", "tensorrt_rtx"), ("tensorrt", "tensorrt")])
def test_without_the_library_the_fix_is_said(device: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MaclipError, match=rf"maclip\[{device}\]") as caught:
        find_library.__wrapped__(device)  # the real one keeps what it has found
    assert (caught.value.code, caught.value.exit_code) == ("device-missing", 3)


@pytest.mark.skipif(gpu_is_there(), reason="a GPU is there")
def test_without_a_gpu_nothing_else_is_used_instead(bundle: Path) -> None:
    with pytest.raises(MaclipError, match="no NVIDIA GPU") as caught:
        Encoder(Bundle.open(bundle), "rtx")
    assert (caught.value.code, caught.value.exit_code) == ("device-missing", 3)


class HostCuda:
    """Memory of this machine in the place of a GPU's."""

    stream = 7
    capability = "8.6"

    def __init__(self, device: str = "rtx") -> None:
        self.pieces: dict[int, ctypes.Array[ctypes.c_char]] = {}

    def allocate(self, size: int) -> int:
        piece = ctypes.create_string_buffer(size)
        self.pieces[ctypes.addressof(piece)] = piece
        return ctypes.addressof(piece)

    def free(self, address: int) -> None:
        del self.pieces[address]

    def upload(self, address: int, array: np.ndarray) -> None:
        assert array.nbytes <= len(self.pieces[address])
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def download(self, array: np.ndarray, address: int) -> None:
        assert array.nbytes <= len(self.pieces[address])
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def wait(self) -> None: ...


class StandIn:
    """In the place of an execution context: onnxruntime computes on the memory and shapes that were bound."""

    def __init__(self, file: Path, spec: object, profile: Profile) -> None:
        self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        self.spec, self.profile = spec, profile
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.runs = 0

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        assert index == 0
        return list(self.profile.shapes(next(tensor for tensor in self.spec.inputs if tensor.name == name)))

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return all(n <= most for n, most in zip(shape, self.get_tensor_profile_shape(name, 0)[2], strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        sizes = {
            axis: n
            for tensor in self.spec.inputs
            for axis, n in zip(tensor.shape, self.shapes[tensor.name], strict=True)
        }
        shape = next(tensor.shape for tensor in self.spec.outputs if tensor.name == name)
        return tuple(sizes[n] if isinstance(n, str) else n for n in shape)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == HostCuda.stream
        feeds = {}
        for tensor in self.spec.inputs:
            array = np.empty(self.shapes[tensor.name], tensor.dtype)
            ctypes.memmove(array.ctypes.data, self.addresses[tensor.name], array.nbytes)
            feeds[tensor.name] = array
        for tensor, made in zip(self.spec.outputs, self.session.run(None, feeds), strict=True):
            made = np.ascontiguousarray(made)
            ctypes.memmove(self.addresses[tensor.name], made.ctypes.data, made.nbytes)
        self.runs += 1
        return True


class Rig:
    """A `TensorRTEngine` on the host's memory: engines are found and built as ever, and what was loaded is kept."""

    def __init__(
        self, bundle: Path, cache: EngineCache, monkeypatch: pytest.MonkeyPatch, *, trust_engines: bool = False
    ) -> None:
        self.loaded: dict[str, bytes] = {}
        self.contexts: dict[str, StandIn] = {}
        opened = Bundle.open(bundle, trust_engines=trust_engines)

        def load(library: object, graph: str, serialised: bytes) -> runner.Loaded:
            # The profile is not in the standing-in engine, so it is taken from the cache's own words.
            self.loaded[graph] = bytes(serialised)
            spec = opened.manifest.graphs[graph]
            widest = max(
                (
                    Profile.parse(json.loads(file.open("rb").readline())["key"]["profile"])
                    for file in self.files(cache, graph)
                ),
                key=lambda profile: profile.axes[-1].max,
                default=profile_of(spec, FRAMES, MaxSizes()),
            )
            context = StandIn(opened.graph_file(graph), spec, widest)
            self.contexts[graph] = context
            return runner.Loaded(None, context, context)

        monkeypatch.setattr(runner, "Cuda", HostCuda)
        monkeypatch.setattr(runner, "load_engine", load)
        self.engine = runner.TensorRTEngine(opened, "rtx", cache)

    @staticmethod
    def files(cache: EngineCache, graph: str) -> list[Path]:
        return list(cache.folder.glob(f"{graph}-*"))


def random_inputs(graph: str, rows: int, classes: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    features = random.normal(size=(rows, FRAMES, WIDTH)).astype(np.float32)
    if graph == "match":
        prototypes = random.normal(size=(classes, FRAMES, WIDTH)).astype(np.float32)
        text = np.resize(text_features(), (classes, WIDTH))
        return {"features": features, "prototypes": prototypes, "text": text, "has_text": np.arange(classes) % 2 == 0}
    text, has_text = np.resize(text_features(), (rows, WIDTH)), np.arange(rows) % 3 > 0
    if graph == "prototype":
        return {"features": features, "text": text, "has_text": has_text}
    frames = random.integers(0, 256, (rows, FRAMES, SIZE, SIZE, 3)).astype(np.uint8)
    return {"frames": frames, "text": text, "has_text": has_text}


def test_any_number_of_rows_goes_through_the_engine_in_pieces(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, truth = Rig(bundle, EngineCache(tmp_path), monkeypatch), open_engine(Bundle.open(bundle), "cpu")
    for graph, rows, classes, pieces in [
        ("visual", 19, 0, 3),
        ("visual", 1, 0, 1),
        ("prototype", 8, 0, 1),
        ("prototype", 9, 0, 2),
        ("match", 3, 5, 1),
        ("match", 9, 40, 2),
    ]:
        inputs = random_inputs(graph, rows, classes)
        before = rig.contexts[graph].runs if graph in rig.contexts else 0
        made, expected = rig.engine.run(graph, **inputs), truth.run(graph, **inputs)
        assert rig.contexts[graph].runs - before == pieces
        for mine, theirs in zip(made, expected, strict=True):
            assert mine.dtype == theirs.dtype
            np.testing.assert_allclose(mine, theirs, atol=1e-6)
    with pytest.raises(ValueError, match="frames has shape"):
        rig.engine.run("visual", **{**random_inputs("visual", 2), "frames": np.zeros((2, FRAMES, 8, 8, 3), np.uint8)})


def test_a_gallery_beyond_the_engine_says_what_to_build(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = EngineCache(tmp_path)
    rig = Rig(bundle, cache, monkeypatch)
    rig.engine.run("match", **random_inputs("match", 1, 3))
    small = rig.loaded["match"]
    memory = len(rig.engine._cuda.pieces)
    with pytest.raises(MaclipError, match="10001 classes") as caught:
        rig.engine.run("match", **random_inputs("match", 1, 10_001))
    assert caught.value.code == "engine-too-small"
    assert "--max-classes" in caught.value.fix
    match = built(bundle, cache, MaxSizes(classes=20_000))[-1]
    distances, _ = rig.engine.run("match", **random_inputs("match", 1, 10_001))
    assert distances.shape == (1, 10_001)
    assert match.file.read_bytes().endswith(rig.loaded["match"])
    assert rig.loaded["match"] != small
    assert len(rig.engine._cuda.pieces) == memory  # the smaller engine's memory was given back
    for _ in range(2):
        rig.engine.close()
        assert not rig.engine._cuda.pieces


def test_the_bundles_own_engine_comes_first_if_its_library_is_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_bundle(tmp_path / "b")
    manifest, library = manifest_of(path), find_library("rtx")
    engines = []
    for graph, spec in manifest.graphs.items():
        profile = profile_of(spec, FRAMES, MaxSizes())
        (path / f"{graph}.rtx.engine").write_bytes(build_engine(library, path / spec.file, spec, profile))
        file = f"{graph}.rtx.engine"
        engines.append(EngineFile(graph, file, library.key, library.version, ("8.6",), str(profile)))
    seal(path, dataclasses.replace(manifest, engines=tuple(engines)))
    cache = EngineCache(tmp_path / "cache")
    assert origins(path, cache, trust_engines=True) == {"bundled"}
    # The match engine has no room there.
    assert origins(path, cache, MaxSizes(classes=10_001), trust_engines=True) == {"bundled", "built"}
    rig = Rig(path, EngineCache(tmp_path / "empty"), monkeypatch, trust_engines=True)
    rig.engine.run("visual", **random_inputs("visual", 1))
    assert rig.loaded["visual"] == (path / "visual.rtx.engine").read_bytes()
    assert not (tmp_path / "empty").exists()
    older = tuple(dataclasses.replace(engine, library_version="1.0.0") for engine in engines)
    seal(path, dataclasses.replace(manifest, engines=older))
    assert origins(path, EngineCache(tmp_path / "cache2")) == {"built"}


def test_an_engine_of_a_bundle_that_nobody_vouches_for_is_never_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """To deserialize an engine runs what its maker wrote, and a digest in the same folder proves no maker."""
    path = write_bundle(tmp_path / "b")
    manifest, library = manifest_of(path), find_library("rtx")
    engines = []
    for graph, spec in manifest.graphs.items():
        (path / f"{graph}.engine").write_bytes(b"code of a stranger's")
        profile = str(profile_of(spec, FRAMES, MaxSizes()))
        engines.append(EngineFile(graph, f"{graph}.engine", library.key, library.version, ("8.6",), profile))
    seal(path, dataclasses.replace(manifest, engines=tuple(engines)))
    rig = Rig(path, EngineCache(tmp_path / "cache"), monkeypatch)
    rig.engine.run("visual", **random_inputs("visual", 1))
    assert b"stranger" not in rig.loaded["visual"]
    assert "--trust-engines" in caplog.text
    assert origins(path, EngineCache(tmp_path / "other")) == {"built"}
