"""Engines are built by the real library, by command too, and kept in a cache that is never trusted."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_engines import SMALL, built, manifest_of, origins
from tiny_bundle import FRAMES, HEADER, WIDTH, seal, write_bundle

from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.cache import default_cache
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.engines.tensorrt.cache import EngineCache, EngineKey
from maclip_runtime.engines.tensorrt.engines import PORTABLE, build_all, engine_key
from maclip_runtime.engines.tensorrt.library import find_library
from maclip_runtime.engines.tensorrt.profile import MaxSizes, Profile, profile_of
from maclip_runtime.errors import MaclipError

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed (x86-64 only)")


def test_rows_are_few_and_classes_many(bundle: Path, tmp_path: Path) -> None:
    graphs = manifest_of(bundle).graphs | manifest_of(write_bundle(tmp_path / "split", split=True)).graphs
    max_sizes = MaxSizes(clips=4, classes=500)
    assert {name: str(profile_of(spec, FRAMES, max_sizes)) for name, spec in graphs.items()} == {
        "visual": "B=1:1:4",
        "stem": f"F=1:{FRAMES}:{4 * FRAMES}",
        "tower": "B=1:1:4",
        "prototype": "C=1:1:4",
        "match": "B=1:1:4 C=1:16:500",
    }
    match = profile_of(graphs["match"], FRAMES, max_sizes)
    assert match.shapes(graphs["match"].inputs[1]) == tuple((c, FRAMES, WIDTH) for c in (1, 16, 500))
    assert Profile.parse(str(match)) == match


def test_a_bundle_is_built_once(bundle: Path, tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    first = built(bundle, cache)
    assert [one.graph for one in first] == list(manifest_of(bundle).graphs)
    assert {one.origin for one in first} == {"built"}
    assert all(one.file.stat().st_size > one.size > 1000 for one in first)
    again = built(bundle, cache)
    assert {one.origin for one in again} == {"cached"}
    assert [one.size for one in again] == [one.size for one in first]
    assert origins(bundle, cache, MaxSizes(clips=2, classes=65)) == {"built", "cached"}  # match knows classes
    assert origins(write_bundle(tmp_path / "other", prototype_factor=2.0), cache) == {"built", "cached"}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(EngineKey)])
def test_an_engine_of_anything_else_is_not_taken(field: str, tmp_path: Path) -> None:
    key = EngineKey("match", "digest", "tensorrt", "10.3.0", "8.7", "fp16", "B=1:1:8 C=1:16:100")
    cache = EngineCache(tmp_path)
    cache.put(key, b"engine")
    other = dataclasses.replace(key, **{field: "C=1:16:99" if field == "profile" else "other"})
    assert cache.size(key) == len(b"engine")
    assert cache.size(other) is None
    # `find` may take another profile, if it has room.
    assert cache.find(other, {"C": 100}) == (b"engine" if field == "profile" else None)
    assert cache.find(key, {"C": 101}) is None


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "other's"])
def test_a_damaged_engine_is_built_anew(damage: str, bundle: Path, tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    files = {one.graph: one.file for one in built(bundle, cache)}
    data = bytearray(files["match"].read_bytes())
    if damage == "flipped":
        data[-100] ^= 1
    elif damage == "cut":
        data = data[:-1]
    elif damage == "emptied":
        data = bytearray()
    else:
        data = bytearray(files["prototype"].read_bytes())
    opened, library = Bundle.open(bundle), find_library("rtx")
    spec = opened.manifest.graphs["match"]
    key = engine_key(opened, "match", library, PORTABLE, profile_of(spec, FRAMES, SMALL))
    assert cache.find(key, {"C": 3}) is not None
    files["match"].write_bytes(data)
    assert cache.find(key, {"C": 3}) is None
    assert {one.graph: one.origin for one in built(bundle, cache)} == {
        "visual": "cached",
        "prototype": "cached",
        "match": "built",
    }
    assert origins(bundle, cache) == {"cached"}


def test_a_full_disk_leaves_nothing_behind(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MaclipError, match="No space left") as caught:
        built(bundle, EngineCache(tmp_path))
    assert caught.value.code == "cache-unwritable"
    assert list((tmp_path / "engines").iterdir()) == []


def test_the_cache_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("MACLIP_CACHE", raising=False)
    assert default_cache() == tmp_path / "xdg" / "maclip"
    monkeypatch.setenv("MACLIP_CACHE", str(tmp_path / "own"))
    assert EngineCache().folder == tmp_path / "own" / "engines"


def test_without_a_home_nothing_is_kept_and_nothing_fails(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose user has no entry."""

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for variable in ("XDG_CACHE_HOME", "MACLIP_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert not default_cache().parent.exists()
    key = EngineKey("match", "digest", "tensorrt", "10.3.0", "8.7", "fp16", "B=1:1:8")
    assert EngineCache().size(key) is None
    assert EngineCache().find(key, {}) is None


def test_what_cannot_be_read_is_said_in_the_parsers_words(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b")
    manifest = manifest_of(path)
    import onnx

    text = f"visual (float[B,{WIDTH}] x) => (float[B,{WIDTH}] y) {{ y = Bernoulli(x) }}"
    onnx.save(onnx.parser.parse_model(HEADER + text), path / "visual.onnx")
    seal(path, manifest)
    with pytest.raises(MaclipError, match=r"visual\.onnx.*Bernoulli") as caught:
        built(path, EngineCache(tmp_path))
    assert caught.value.code == "graph-unsupported"


def test_a_graph_that_contradicts_the_manifest_is_refused(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b")
    manifest = manifest_of(path)
    visual = manifest.graphs["visual"]
    other = dataclasses.replace(
        visual, inputs=(dataclasses.replace(visual.inputs[0], dtype="float32"), *visual.inputs[1:])
    )
    seal(path, dataclasses.replace(manifest, graphs={**manifest.graphs, "visual": other}))
    with pytest.raises(MaclipError, match="uint8") as caught:
        built(path, EngineCache(tmp_path))
    assert caught.value.code == "bundle-schema"


def test_dynamic_int8_is_for_cpus(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b")
    seal(path, dataclasses.replace(manifest_of(path), precision="int8", quantization="dynamic"))
    for attempt in (lambda: built(path, EngineCache(tmp_path)), lambda: Encoder(Bundle.open(path), "rtx")):
        with pytest.raises(MaclipError, match="--quantization both") as caught:
            attempt()
        assert caught.value.code == "precision-unsupported"


def test_an_interrupted_build_ends_and_leaves_nothing(tmp_path: Path, bundle: Path) -> None:
    seen: list[float] = []

    def interrupt(graph: str, share: float, what: str) -> None:
        seen.append(share)
        if share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(
            build_all(
                Bundle.open(bundle),
                find_library("rtx"),
                PORTABLE,
                EngineCache(tmp_path),
                max_sizes=SMALL,
                progress=interrupt,
            )
        )
    assert seen == sorted(seen)
    assert len(seen) > 3
    assert not (tmp_path / "engines").exists()


BUILD = "from maclip_cli.device.app import main; main()"


def command(*args: object, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, "build", *map(str, args)],
        env={**os.environ, "MACLIP_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_build_at_once(bundle: Path, tmp_path: Path) -> None:
    both = [command(bundle, "--device", "rtx", "--json", cache=tmp_path) for _ in range(2)]
    for process in both:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert [json.loads(line)["graph"] for line in out.splitlines()] == ["visual", "prototype", "match"]
    assert origins(bundle, EngineCache(tmp_path), MaxSizes()) == {"cached"}
    assert len(list((tmp_path / "engines").iterdir())) == 3
    out, errors = command(bundle, "--device", "rtx", "--json", cache=tmp_path).communicate(timeout=120)
    lines = [json.loads(line) for line in out.splitlines()]
    assert {(line["origin"], line["library"]) for line in lines} == {("cached", "tensorrt_rtx")}
    assert sum(line["seconds"] for line in lines) < 1


def test_the_command_without_the_library_ends_with_3(bundle: Path, tmp_path: Path) -> None:
    if "tensorrt" in sys.modules or _installed("tensorrt"):
        pytest.skip("TensorRT is installed")
    process = command(bundle, "--device", "tensorrt", cache=tmp_path)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (3, "")
    assert errors.splitlines()[0].startswith("error[device-missing]: ")
    assert errors.splitlines()[1].startswith("fix: ")


def _installed(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def test_ctrl_c_ends_the_command(bundle: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_BUILD, "build", str(bundle), "--device", "rtx"],
        env={**os.environ, "MACLIP_CACHE": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while (line := process.stderr.readline()) != "step\n":
        assert line, "the build never began"
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert time.monotonic() - begun < 10
    assert not (tmp_path / "engines").exists()


# Each of the builder's steps lasts long enough to be interrupted.
SLOW_BUILD = """
import sys, time
from maclip_runtime.engines.tensorrt import engines
build = engines.build_engine
def slow(library, file, spec, profile, progress):
    def step(fraction, phase):
        print("step", file=sys.stderr, flush=True)
        time.sleep(0.5)
    return build(library, file, spec, profile, progress=step)
engines.build_engine = slow
from maclip_cli.device.app import main
main()
"""
