"""The graphs run on the device that was asked for, or the user is told why not."""

from __future__ import annotations

import dataclasses
import importlib.abc
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx.parser
import onnxruntime
import pytest
from tiny_bundle import FRAMES, SIZE, WIDTH, seal, write_bundle

from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines import base, open_engine, pieces
from maclip_runtime.engines.openvino import import_openvino
from maclip_runtime.engines.providers import PROBE_GRAPH
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

CUDA = "CUDAExecutionProvider"
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")


def visual_inputs(batch: int = 2, seed: int = 1) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "frames": random.integers(0, 256, (batch, FRAMES, SIZE, SIZE, 3)).astype(np.uint8),
        "text": random.normal(size=(batch, WIDTH)).astype(np.float32),
        "has_text": np.arange(batch) % 2 == 0,
    }


def match_inputs(classes: int = 3) -> dict[str, Any]:
    random = np.random.default_rng(2)
    features, prototypes = (random.normal(size=(n, FRAMES, WIDTH)).astype(np.float32) for n in (2, classes))
    text = np.zeros((classes, WIDTH), np.float32)
    return {"features": features, "prototypes": prototypes, "text": text, "has_text": np.zeros(classes, bool)}


def refusal(bundle: Path, device: str) -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        open_engine(Bundle.open(bundle), device)
    return caught.value


def test_auto_says_what_it_chose_where_that_is_new(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MACLIP_CACHE", str(tmp_path))
    for level in (logging.INFO, logging.DEBUG):  # the second time only for who wants details
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "maclip"):
            engine = open_engine(Bundle.open(bundle))
        assert engine.device in ("cpu", "cuda")
        said = [(record.levelno, record.message.split(" (")[0]) for record in caplog.records]
        assert said == [(level, f"device: {engine.device}")]
    (chosen,) = (tmp_path / "chosen").iterdir()
    chosen.write_text("openvino")
    with caplog.at_level(logging.INFO, "maclip"):
        caplog.clear()
        open_engine(Bundle.open(bundle))
    assert len(caplog.records) == 1, "it changed"


def test_auto_says_what_it_chose_where_nothing_can_be_kept(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MACLIP_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.INFO, "maclip"):
        for _ in range(2):
            open_engine(Bundle.open(bundle))
    assert [one.levelno for one in caplog.records if "auto: " in one.message] == [logging.INFO] * 2


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="CUDA is there")
@pytest.mark.parametrize("device", ["cuda", CUDA, "CoreMLExecutionProvider"])
def test_an_absent_device_is_never_replaced(device: str, bundle: Path) -> None:
    error = refusal(bundle, device)
    assert (error.code, error.exit_code) == ("device-missing", EXIT_MACHINE_LACKS)
    assert (CUDA if device == "cuda" else device) in error.message


@pytest.mark.parametrize("how", ["put on the CPU", "raised"])
def test_listed_cuda_that_does_not_start_is_missing(
    how: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MACLIP_CACHE", str(tmp_path))  # the choice is said where it is news
    # What onnxruntime-gpu does without a GPU: it lists CUDA, then puts the session on the CPU, or raises.
    real = onnxruntime.InferenceSession

    def session(path: object, sess_options: object, providers: list[str], enable_fallback: int) -> Any:
        if how == "raised" and CUDA in providers:
            raise RuntimeError("/src/bridge.cc:729 void f(Options&) CUDA failure 35: driver is too old")
        return real(path, sess_options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    error = refusal(bundle, "cuda")
    assert error.code == "device-missing"
    assert ("driver is too old" in error.message) == (how == "raised")
    assert "bridge.cc" not in error.message
    with caplog.at_level(logging.INFO, "maclip"):
        assert open_engine(Bundle.open(bundle), "auto").device == "cpu"
    assert "maclip-run doctor" in caplog.text


def test_an_unknown_device_is_named_with_those_there_are(bundle: Path) -> None:
    error = refusal(bundle, "tpu")
    assert error.code == "device-unknown"
    assert "auto, cpu, cuda" in error.fix


def test_without_onnxruntime_the_fix_is_said(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    error = refusal(bundle, "cpu")
    assert (error.code, error.exit_code) == ("engine-missing", EXIT_MACHINE_LACKS)
    assert "maclip[cpu]" in error.fix


@needs_openvino
def test_auto_without_onnxruntime_takes_openvino_in_full_precision(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert open_engine(Bundle.open(bundle)).device == "openvino-f32"


def test_without_openvino_the_fix_is_said(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    error = refusal(bundle, "openvino")
    assert (error.code, error.exit_code) == ("device-missing", EXIT_MACHINE_LACKS)
    assert "maclip[openvino]" in error.fix


@needs_openvino
@pytest.mark.parametrize("device", ["openvino", "openvino-f32"])
def test_openvino_agrees_with_onnxruntime(device: str, bundle: Path) -> None:
    cpu, other = open_engine(Bundle.open(bundle), "cpu"), open_engine(Bundle.open(bundle), device)
    (expected,), (features,) = (engine.run("visual", **visual_inputs()) for engine in (cpu, other))
    # Frames may pass in bfloat16 (8 bits of a number), distances may not.
    np.testing.assert_allclose(features, expected, atol=1e-6 if device == "openvino-f32" else 2e-2)
    for made, wanted in zip(other.run("match", **match_inputs()), cpu.run("match", **match_inputs()), strict=True):
        np.testing.assert_allclose(made, wanted, atol=1e-6)
    before = features.copy()
    other.run("visual", **visual_inputs(seed=9))
    np.testing.assert_array_equal(features, before)  # a result is the caller's


@pytest.mark.parametrize("device", ["cpu", pytest.param("openvino-f32", marks=needs_openvino)])
def test_any_thread_may_run_any_graph(device: str, bundle: Path) -> None:
    engine = open_engine(Bundle.open(bundle), device, threads=1)
    (expected,) = open_engine(Bundle.open(bundle), "cpu").run("visual", **visual_inputs(4))

    def run(turn: int) -> float:
        if turn % 3 == 0:
            engine.run("match", **match_inputs(turn + 1))
        rows = 1 + turn % 4
        (made,) = engine.run("visual", **{name: array[:rows] for name, array in visual_inputs(4).items()})
        return float(np.abs(made - expected[:rows]).max())

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(run, range(64))) < 1e-5


def test_threads_are_those_asked_for(bundle: Path) -> None:
    engine = open_engine(Bundle.open(bundle), "cpu", threads=3)
    engine.run("match", **match_inputs())
    assert engine._sessions["match"].get_session_options().intra_op_num_threads == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("device", ["cpu", pytest.param("openvino-f32", marks=needs_openvino)])
def test_a_large_batch_goes_in_pieces_of_one_clip(device: str, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_ELEMENTS", 3 * FRAMES * SIZE * SIZE * 3 + 1)
    engine, seen = open_engine(Bundle.open(bundle), device), []
    engine.run("visual", **visual_inputs(1))
    if device == "cpu":
        real = engine._sessions["visual"]  # type: ignore[attr-defined]
        spy = SimpleNamespace(run=lambda names, feed: (seen.append(len(feed["text"])), real.run(names, feed))[1])
        engine._sessions["visual"] = spy  # type: ignore[attr-defined]
    (made,) = engine.run("visual", **visual_inputs(8))
    assert seen == ([3, 3, 2] if device == "cpu" else [])
    monkeypatch.undo()
    (whole,) = open_engine(Bundle.open(bundle), "cpu").run("visual", **visual_inputs(8))
    np.testing.assert_allclose(made, whole, atol=1e-6)


def test_pieces_are_by_the_size_of_a_row(bundle: Path) -> None:
    visual, match = (Bundle.open(bundle).manifest.graphs[name] for name in ("visual", "match"))
    assert pieces.rows_at_once(visual) == pieces.PIECE_ELEMENTS // (FRAMES * SIZE * SIZE * 3)
    assert pieces.rows_at_once(match) == pieces.PIECE_ELEMENTS // (FRAMES * WIDTH)
    frames = dataclasses.replace(visual.inputs[0], shape=("B", 16, 336, 336, 3))
    assert pieces.rows_at_once(dataclasses.replace(visual, inputs=(frames, *visual.inputs[1:]))) == 1


def test_idle_threads_leave_the_processor_alone(bundle: Path) -> None:
    engine = open_engine(Bundle.open(bundle), "cpu", threads=2)
    engine.run("visual", **visual_inputs())
    options = engine._sessions["visual"].get_session_options()  # type: ignore[attr-defined]
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@needs_openvino
@pytest.mark.parametrize("change", [{"name": "clip"}, {"dtype": "float32"}])
def test_openvino_refuses_a_graph_that_contradicts_the_manifest(change: dict[str, str], tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b")
    manifest = Bundle.open(path).manifest
    visual = manifest.graphs["visual"]
    other = dataclasses.replace(visual, inputs=(dataclasses.replace(visual.inputs[0], **change), *visual.inputs[1:]))
    seal(path, dataclasses.replace(manifest, graphs={**manifest.graphs, "visual": other}))
    with pytest.raises(MaclipError) as caught:
        open_engine(Bundle.open(path), "openvino").run("visual", **visual_inputs())
    assert caught.value.code == "bundle-schema"


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 8), ("150000 100000", 2), ("20000 100000", 1), ("?", 8)])
def test_a_containers_share_counts(quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(base, "CGROUP_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(base, "CPUS", tmp_path)
    monkeypatch.setattr(base.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert base.usable_cores() == cores
    monkeypatch.setattr(base, "CGROUP_QUOTA", tmp_path / "none")
    assert base.usable_cores() == 8
    for cpu in range(16):  # two threads a core: 0 and 8, 1 and 9, ...
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 8},{cpu % 8 + 8}\n")
    monkeypatch.setattr(base.os, "sched_getaffinity", lambda pid: {0, 1, 8, 9, 10}, raising=False)
    assert base.usable_cores() == 3


def test_the_smallest_graph_is_what_its_text_says() -> None:
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[1] x) => (float[1] y) { y = Neg(x) }'
    assert onnx.parser.parse_model(text).SerializeToString() == PROBE_GRAPH


def test_a_plug_in_that_is_no_library_is_missing(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no library" in refusal(bundle, str(tmp_path / "none.so")).message
    broken = tmp_path / "libbroken.so"
    broken.write_bytes(b"no library")
    if not hasattr(onnxruntime, "register_execution_provider_library"):
        assert "does not support plug-in providers" in refusal(bundle, str(broken)).message
        return
    assert "cannot load libbroken.so" in refusal(bundle, str(broken)).message
    # By the name of its provider, as wheels of plug-ins say it; another wheel that breaks does no harm.
    (tmp_path / "onnxruntime_ep_broken.py").write_text(
        f"def get_ep_names(): return ['BrokenExecutionProvider']\ndef get_library_path(): return {str(broken)!r}\n"
    )
    (tmp_path / "onnxruntime_ep_worse.py").write_text("raise SystemError('worse')")
    monkeypatch.syspath_prepend(str(tmp_path))
    error = refusal(bundle, "BrokenExecutionProvider")
    assert error.code == "device-missing"
    assert "cannot load libbroken.so" in error.message


@pytest.mark.parametrize("threads", [0, 99_999])
def test_more_threads_than_any_machine_has_are_refused(tmp_path, threads):
    with pytest.raises(MaclipError) as caught:
        open_engine(Bundle.open(write_bundle(tmp_path / "bundle")), "cpu", threads=threads)
    assert caught.value.code == "option-invalid"


def test_a_library_that_cannot_be_loaded_is_a_missing_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO looks for a home when it is imported, which a container's user may lack."""

    class Homeless(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> None:
            if name == "openvino":
                raise RuntimeError("Could not determine home directory.")

    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Homeless(), *sys.meta_path])
    with pytest.raises(MaclipError, match="home directory") as caught:
        import_openvino("openvino")
    assert caught.value.code == "device-missing"
