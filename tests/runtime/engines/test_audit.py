"""What ran elsewhere than asked is an error, unless it was accepted.

`AzureExecutionProvider` is in every build of onnxruntime, starts everywhere and takes none of our nodes: with it the
real library puts a whole graph on the CPU. Graphs that a GPU takes in part are read from profiles as a GPU writes them.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from test_engines import match_inputs, visual_inputs

from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines import open_engine
from maclip_runtime.engines.audit import CPU, read_profile
from maclip_runtime.engines.onnxruntime import OnnxEngine
from maclip_runtime.engines.providers import Provider
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

CUDA = "CUDAExecutionProvider"
TAKES_NOTHING = "AzureExecutionProvider"
needs_azure = pytest.mark.skipif(
    TAKES_NOTHING not in onnxruntime.get_available_providers(), reason="a build without the provider that takes nothing"
)


@needs_azure
def test_nodes_that_ran_elsewhere_are_an_error(bundle: Path) -> None:
    engine = open_engine(Bundle.open(bundle), TAKES_NOTHING)
    for _ in range(2):  # each time: the graph is not kept
        with pytest.raises(MaclipError, match=r"nodes of match ran on CPUExecutionProvider: .* and \d+ more") as caught:
            engine.run("match", **match_inputs())
        assert (caught.value.code, caught.value.exit_code) == ("device-fallback", EXIT_MACHINE_LACKS)
        assert "--allow-fallback" in caught.value.fix


@needs_azure
def test_a_fallback_that_was_accepted_is_a_warning_once(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = open_engine(Bundle.open(bundle), TAKES_NOTHING, allow_fallback=True)
    with caplog.at_level(logging.WARNING, "maclip"):
        first, again = (engine.run("visual", **visual_inputs())[0] for _ in range(2))
    assert len([record for record in caplog.records if "nodes of visual" in record.message]) == 1
    assert (first == again).all()
    assert (first == open_engine(Bundle.open(bundle), "cpu").run("visual", **visual_inputs())[0]).all()


def test_the_processor_is_audited_on_request_and_strays_nowhere(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = OnnxEngine(Bundle.open(bundle), Provider("cpu", CPU), audit=True)
    engine.run("visual", **visual_inputs())
    engine.run("match", **match_inputs())
    assert set(engine.placements) == {"visual", "match"}
    for placement in engine.placements.values():
        assert placement.fallback_nodes == ()
        assert list(placement.nodes) == [CPU]
        assert placement.nodes[CPU] > 3
    assert list(tmp_path.iterdir()) == []  # profiles are not left behind


def node(name: str, op: str, provider: str, output: dict[str, list[int]], size: int) -> dict[str, Any]:
    """A node's event as onnxruntime 1.31 writes it, without its memory's figures."""
    facts = {
        "op_name": op,
        "provider": provider,
        "node_index": "2",
        "input_type_shape": [],
        "output_type_shape": [output],
        "output_size": str(size),
    }
    return {
        "cat": "Node",
        "pid": 1,
        "tid": 1,
        "dur": 9,
        "ts": 1,
        "ph": "X",
        "name": f"{name}_kernel_time",
        "args": facts,
    }


def profile(*nodes: dict[str, Any]) -> str:
    run = {"cat": "Session", "pid": 1, "tid": 1, "dur": 9, "ts": 1, "ph": "X", "name": "model_run", "args": {}}
    return json.dumps([run, *nodes, {**run, "name": "SequentialExecutor::Execute"}])


ON_GPU = node("conv", "Conv", CUDA, {"float": [1, 197, 768]}, 605184)


@pytest.mark.parametrize(
    ("one", "strayed"),
    [
        (node("shape", "Shape", CPU, {"int64": [3]}, 24), False),
        (node("flag", "Equal", CPU, {"bool": [3]}, 3), False),
        (node("loop", "Loop", CPU, {"float": [8, 8]}, 256), False),
        (node("copy", "MemcpyToHost", CUDA, {"float": [8]}, 32), False),
        (node("weight", "Sigmoid", CPU, {"float": [1]}, 4), True),
        (node("half", "MatMul", CPU, {"float16": [4, 4]}, 32), True),
        (node("pixels", "Slice", CPU, {"uint8": [1, 4]}, 4), True),
        (node("order", "TopK", CPU, {"int64": [1000]}, 8000), True),
        (node("shape", "Shape", "DmlExecutionProvider", {"int64": [3]}, 24), True),
    ],
)
def test_only_sizes_flags_and_control_belong_on_the_processor(one: dict[str, Any], strayed: bool) -> None:
    placement = read_profile(profile(ON_GPU, one), "tower", CUDA)
    assert bool(placement.fallback_nodes) == strayed
    if strayed:
        name = one["name"].removesuffix("_kernel_time")
        provider = one["args"]["provider"]
        assert str(placement) == f"1 of 2 nodes of tower ran on {provider}: {name} ({one['args']['op_name']})"


def test_a_node_that_ran_often_is_one_stray() -> None:
    inner = node("step", "Add", CPU, {"float": [8]}, 32)
    assert read_profile(profile(ON_GPU, inner, inner, inner), "match", CUDA).fallback_nodes == ("step (Add)",)


def test_a_profile_without_nodes_proves_nothing() -> None:
    with pytest.raises(ValueError, match="no node"):
        read_profile(profile(), "match", CUDA)
