"""OpenVINO keeps what it compiled, obeys --threads and names its devices; a damaged cache never stops it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny_bundle import FRAMES, SIZE, WIDTH

from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines import open_engine
from maclip_runtime.engines.base import Array
from maclip_runtime.engines.cache import read_entry, write_entry
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

pytest.importorskip("openvino")

from maclip_runtime.engines.openvino import OpenVinoEngine, find_place

NOT_COMPILED = "the graph was compiled again"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MACLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


def visual(engine: Any, rows: int = 1) -> Array:
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (rows, FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    text, has_text = random.normal(size=(rows, WIDTH)).astype(np.float32), np.ones(rows, np.bool_)
    (features,) = engine.run("visual", frames=frames, text=text, has_text=has_text)
    found: Array = features
    return found


def forbid_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(engine: OpenVinoEngine, graph: str) -> None:
        pytest.fail(NOT_COMPILED)

    monkeypatch.setattr(OpenVinoEngine, "_compile", fail)


def test_a_graph_is_compiled_once(bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = visual(open_engine(Bundle.open(bundle), "openvino-f32", threads=2))
    (file,) = cache.iterdir()
    assert file.name.startswith("visual-")
    forbid_compiling(monkeypatch)
    engine = open_engine(Bundle.open(bundle), "openvino-f32", threads=1)
    np.testing.assert_array_equal(visual(engine), first)
    compiled = engine._compiled["visual"]  # type: ignore[attr-defined]
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1  # those of now, not those of the first time


def test_another_precision_or_version_is_compiled_for_itself(bundle: Path, cache: Path) -> None:
    visual(open_engine(Bundle.open(bundle), "openvino-f32"))
    engine = open_engine(Bundle.open(bundle), "openvino")
    visual(engine)
    files = 1 if engine.precision("visual") == "f32" else 2  # type: ignore[attr-defined]
    assert len(list(cache.iterdir())) == files
    newer = open_engine(Bundle.open(bundle), "openvino-f32")
    newer._openvino = SimpleNamespace(__version__="9999.0")  # type: ignore[attr-defined]
    visual(newer)
    assert len(list(cache.iterdir())) == files + 1


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "nonsense"])
def test_a_damaged_file_is_compiled_again(
    damage: str, bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = visual(open_engine(Bundle.open(bundle), "openvino-f32"))
    (file,) = cache.iterdir()
    data = bytearray(file.read_bytes())
    if damage == "flipped":
        data[-100] ^= 1
    elif damage == "cut":
        data = data[:-50]
    elif damage == "emptied":
        data = bytearray()
    if damage == "nonsense":  # with the right header: OpenVINO itself refuses it
        key = json.loads(data.split(b"\n", 1)[0])["key"]
        write_entry(file, key, b"no graph of OpenVINO's")
        assert read_entry(file, key) is not None
    else:
        file.write_bytes(data)
    with caplog.at_level(logging.WARNING, "maclip"):
        np.testing.assert_array_equal(visual(open_engine(Bundle.open(bundle), "openvino-f32")), first)
    assert len(caplog.records) == (damage == "nonsense")
    forbid_compiling(monkeypatch)
    np.testing.assert_array_equal(visual(open_engine(Bundle.open(bundle), "openvino-f32")), first)


def test_without_a_place_for_the_cache_it_runs(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MACLIP_CACHE", str(tmp_path / "file"))
    assert visual(open_engine(Bundle.open(bundle), "openvino-f32")).shape == (1, FRAMES, WIDTH)


def test_two_processes_compile_at_once(bundle: Path, cache: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from maclip_runtime.bundle.opening import Bundle\n"
        "from maclip_runtime.engines import open_engine\n"
        f"features = np.ones((1, {FRAMES}, {WIDTH}), np.float32)\n"
        f"text, has_text = np.zeros((1, {WIDTH}), np.float32), np.zeros(1, np.bool_)\n"
        "engine = open_engine(Bundle.open(sys.argv[1]), 'openvino-f32')\n"
        "print(engine.run('prototype', features=features, text=text, has_text=has_text)[0].sum())\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(bundle)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [process.communicate(timeout=120)[0].strip() for process in both] == [f"{FRAMES * WIDTH:.1f}"] * 2
    assert [path.suffix for path in cache.iterdir()] == [".blob"]


def test_devices_have_openvinos_names(bundle: Path) -> None:
    engine = open_engine(Bundle.open(bundle), "openvino:CPU")
    assert engine.device == "openvino:CPU"
    np.testing.assert_allclose(visual(engine), visual(open_engine(Bundle.open(bundle), "cpu")), atol=2e-2)
    core = SimpleNamespace(available_devices=["CPU", "GPU.0", "GPU.1", "NPU"])
    found = {name: find_place(core, f"openvino:{name}") for name in ("GPU", "gpu.1", "NPU", "CPU")}
    assert found == {"GPU": "GPU", "gpu.1": "GPU.1", "NPU": "NPU", "CPU": "CPU"}
    assert find_place(core, "openvino") == find_place(core, "openvino-f32") == "CPU"
    with pytest.raises(MaclipError) as caught:
        find_place(core, "openvino:GPU.2")
    assert (caught.value.code, caught.value.exit_code) == ("device-missing", EXIT_MACHINE_LACKS)
    assert "openvino:GPU.1" in caught.value.message


def test_an_npu_gets_one_clip_at_a_time(bundle: Path) -> None:
    """The CPU poses as one: fixed shapes for the network, free ones for the rest."""
    engine = open_engine(Bundle.open(bundle), "openvino-f32")
    core, asked = engine._core, []  # type: ignore[attr-defined]

    def compile_model(model: Any, place: str, settings: dict[str, Any]) -> Any:
        asked.append((place, settings["INFERENCE_PRECISION_HINT"], "INFERENCE_NUM_THREADS" in settings))
        return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    engine._place = "NPU"  # type: ignore[attr-defined]
    engine._core = SimpleNamespace(read_model=core.read_model, compile_model=compile_model)  # type: ignore[attr-defined]
    expected = visual(open_engine(Bundle.open(bundle), "cpu"), 3)
    np.testing.assert_allclose(visual(engine, 3), expected, atol=1e-6)
    compiled = engine._compiled["visual"]  # type: ignore[attr-defined]
    assert list(compiled.inputs[0].get_shape()) == [1, FRAMES, SIZE, SIZE, 3]
    features = np.ones((2, FRAMES, WIDTH), np.float32)
    engine.run("prototype", features=features, text=np.zeros((2, WIDTH), np.float32), has_text=np.zeros(2, np.bool_))
    assert asked == [("NPU", "f16", False), ("CPU", "f32", True)]


def test_the_audit_counts_products_by_precision(bundle: Path) -> None:
    engine = open_engine(Bundle.open(bundle), "openvino")
    assert engine.products("match") == {"f32": 1}  # type: ignore[attr-defined]
