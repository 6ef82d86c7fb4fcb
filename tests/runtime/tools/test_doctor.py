"""The doctor finds what is wrong with a machine, and says the fix."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines import wheels
from maclip_runtime.engines.choice import Choice
from maclip_runtime.errors import MaclipError
from maclip_runtime.tools.doctor import diagnose, libraries, machine, report, surroundings
from maclip_runtime.tools.doctor.devices import device_states, run_graphs

TAKES_NOTHING = "AzureExecutionProvider"
needs_a_linker = pytest.mark.skipif(
    shutil.which("cc") is None or shutil.which("ldd") is None, reason="no compiler to make a broken library with"
)


def test_a_sound_machine_runs_every_graph_where_asked(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "cameras", lambda: ())
    found = diagnose("cpu", bundle)
    assert found.chosen == "cpu"
    assert [run.graph for run in found.graphs] == ["visual", "prototype", "match"]
    assert all("nodes on CPUExecutionProvider" in run.ran and not run.fallback_nodes for run in found.graphs)
    assert found.versions["onnxruntime"] == onnxruntime.__version__
    assert found.signed is False
    assert [problem.subject for problem in found.problems] == []


def test_every_word_for_a_device_is_tried() -> None:
    states = {state.device: state for state in device_states("NoSuchExecutionProvider")}
    assert states["cpu"].works
    assert {"cuda", "tensorrt", "rtx", "openvino", "openvino-f32"} < set(states)
    missing = states["NoSuchExecutionProvider"]
    assert not missing.works
    assert "no plug-in" in missing.message
    assert "cannot be used" not in missing.message  # the table says so already
    assert missing.fix


def test_a_missing_device_is_a_problem_and_nothing_is_run_instead(bundle: Path) -> None:
    found = diagnose("NoSuchExecutionProvider", bundle)
    assert found.chosen is None
    assert found.graphs == ()
    assert found.problems[0].subject == "NoSuchExecutionProvider"


@pytest.mark.skipif(TAKES_NOTHING not in onnxruntime.get_available_providers(), reason="a build without it")
def test_nodes_that_run_elsewhere_are_problems(bundle: Path) -> None:
    found = diagnose(TAKES_NOTHING, bundle)
    assert [run.fallback_nodes for run in found.graphs if run.graph == "prototype"] == [("Mul_0 (Mul)",)]
    strayed = [problem for problem in found.problems if "did not run on" in problem.message]
    assert [problem.subject for problem in strayed] == ["visual", "prototype", "match"]
    assert "--allow-fallback" in strayed[0].fix


def test_openvino_says_what_it_computes_in(bundle: Path) -> None:
    pytest.importorskip("openvino")
    runs = {run.graph: run.ran for run in run_graphs(Bundle.open(bundle), "openvino-f32")}
    assert runs == {
        "visual": "whole, by OpenVINO on CPU; products: none",
        "prototype": "whole, by OpenVINO on CPU; products: none",
        "match": "whole, by OpenVINO on CPU; products: 1 in f32",
    }


def wheel(folder: Path, name: str, module: str) -> None:
    """An installed wheel as pip leaves it, of one module."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text(f"{module}/__init__.py,,\n{module}/tools/onnxruntime/__init__.py,,\n")


def test_two_wheels_of_onnxruntime_are_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "onnxruntime-gpu"):
        wheel(tmp_path, name, "onnxruntime")
    wheel(tmp_path, "onnxruntime-extensions", "onnxruntime_extensions")  # stands beside it
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert machine.onnxruntime_wheels() == {"onnxruntime": "1.0", "onnxruntime-gpu": "1.0"}
    (problem,) = report._wheels()
    assert problem.fix.startswith("pip uninstall -y onnxruntime onnxruntime-gpu")


@needs_a_linker
def test_libraries_that_are_lacking_are_named_with_what_brings_them(tmp_path: Path) -> None:
    (tmp_path / "none.c").write_text("int none(void) { return 0; }")
    for name, needs in [("libcudnn.so.9", []), ("libof_ours.so", ["-L.", "-l:libcudnn.so.9"]), ("libwhole.so", [])]:
        command = ["cc", "-shared", "-Wl,--no-as-needed", f"-Wl,-soname,{name}", "-o", name, "none.c", *needs]
        subprocess.run(command, cwd=tmp_path, check=True)
    (tmp_path / "libcudnn.so.9").unlink()
    plugins = {"OursExecutionProvider": tmp_path / "libof_ours.so", "WholeExecutionProvider": tmp_path / "libwhole.so"}
    found = {one.provider: one for one in libraries.provider_libraries(plugins) if one.provider in plugins}
    assert found["OursExecutionProvider"].missing == ("libcudnn.so.9",)
    assert "onnxruntime-gpu[cuda,cudnn]" in found["OursExecutionProvider"].fix
    assert found["WholeExecutionProvider"].missing == ()
    (problem,) = report._libraries(tuple(found.values()), "OursExecutionProvider")
    assert "libof_ours.so needs libcudnn.so.9" in problem.message
    assert report._libraries(tuple(found.values()), "auto") == []


def test_a_gpu_that_auto_does_not_use_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(report, "choose", lambda bundle: Choice("cpu", "this onnxruntime was built without CUDA"))
    assert any(
        problem.subject == "cuda" and "GPU" in problem.message and problem.fix for problem in diagnose().problems
    )


def test_a_camera_that_may_not_be_read_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("video0", "video1"):
        (tmp_path / name).touch()
    (tmp_path / "video0").with_name("names").mkdir()
    (tmp_path / "names" / "video0").mkdir()
    (tmp_path / "names" / "video0" / "name").write_text("USB Camera\n")
    # Root may read everything: asked of the system, so that the test is the same for all users.
    monkeypatch.setattr(surroundings.os, "access", lambda path, mode: path.name == "video0")
    seen = surroundings.cameras(tmp_path, tmp_path / "names")
    assert [(camera.name, camera.readable) for camera in seen] == [("USB Camera", True), ("", False)]
    monkeypatch.setattr(report, "cameras", lambda: seen)
    (problem,) = [problem for problem in diagnose("cpu").problems if "read" in problem.message]
    assert problem.subject == str(tmp_path / "video1")
    assert "video" in problem.fix


def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert surroundings.cache_fault(tmp_path / "a" / "b") == ""
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    assert "cannot be written" in surroundings.cache_fault(tmp_path / "file")
    monkeypatch.setenv("MACLIP_CACHE", str(tmp_path / "file"))
    (problem,) = [problem for problem in diagnose("cpu").problems if problem.subject == "cache"]
    assert "MACLIP_CACHE" in problem.fix


def test_without_any_engine_the_report_still_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("maclip_runtime.engines.choice.find_spec", lambda name: None)
    found = diagnose()
    assert found.chosen is None
    assert "maclip[cpu]" in next(one.fix for one in found.problems if one.subject == "engine")


def test_a_bundle_that_does_not_load_is_a_problem(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(opened: Bundle, device: str, timings: object) -> None:
        raise MaclipError("bundle-corrupt", "onnxruntime 1.0 cannot load the visual graph.", "Update onnxruntime.")

    monkeypatch.setattr(report, "run_graphs", fail)
    assert "cannot load" in next(one.message for one in diagnose("cpu", bundle).problems if one.subject == "bundle")


def test_a_jetson_is_told_by_its_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.0, GCID: 37537400, BOARD: generic\n",
        "/proc/device-tree/model": "NVIDIA Jetson Orin Nano\0",
    }
    real = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **how: files.get(str(path)) or real(path, **how))
    facts = machine.machine_facts()
    assert facts["JetPack release"] == "R36 (release), REVISION: 4.0"
    assert facts["board"] == "NVIDIA Jetson Orin Nano"


@pytest.mark.parametrize(
    ("release", "index"),
    [
        ("# R36 (release), REVISION: 4.0, GCID: 37537400, BOARD: generic", wheels.JETPACK_6_INDEX),
        ("# R38 (release), REVISION: 2.0, GCID: 1, BOARD: generic", wheels.CUDA_13_INDEX),
        (None, wheels.CUDA_13_INDEX),
    ],
)
def test_on_aarch64_the_fix_names_the_index_of_the_cuda_build(
    release: str | None, index: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "nv_tegra_release"
    if release is not None:
        file.write_text(release)
    monkeypatch.setattr(wheels, "L4T_RELEASE", file)
    monkeypatch.setattr(wheels.platform, "machine", lambda: "aarch64")
    (cuda,) = (one for one in device_states("auto") if one.device == "cuda")
    assert not cuda.works
    assert f"--index-url {index} onnxruntime-gpu" in cuda.fix
    assert index in (Path(__file__).parents[3] / "docs" / "devices.md").read_text()
