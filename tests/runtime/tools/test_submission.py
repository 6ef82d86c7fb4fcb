"""What `maclip-run bench --submit` writes says nothing about who measured, and where."""

from __future__ import annotations

import getpass
import json
import platform
import socket
from pathlib import Path

import pytest

from maclip_runtime.engines.choice import Timing
from maclip_runtime.tools.bench.result import Bench, Classes, ColdStart, Sources, Streaming
from maclip_runtime.tools.bench.submission import submission
from maclip_runtime.tools.doctor import machine as doctor_machine
from maclip_runtime.tools.measuring import machine
from maclip_runtime.tools.measuring.spread import Times

TIMES = Times(1.0, 2.0, 3.0, 4.0, 5)
SOURCES = Sources(1, 30.0, 2.0, 5.0, 100.0, 120.0)
USER, HOST = "alicesecretname", "hostofalice"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A measurement on the machine of a user whose names are in everything that can hold one."""
    monkeypatch.setenv("HOME", f"/home/{USER}")
    monkeypatch.setattr(getpass, "getuser", lambda: USER)
    for module, name in ((socket, "gethostname"), (platform, "node")):
        monkeypatch.setattr(module, name, lambda: HOST)
    monkeypatch.setattr(platform, "platform", lambda: f"Linux-6.1-{HOST}")
    facts = machine.machine_facts()
    return Bench(
        machine=facts,
        bundle={
            "backbone": f"/home/{USER}/clip.pt",
            "precision": "int8",
            "forms": ["dynamic", "static"],
            "adapted_depth": 4,
            "frames": 8,
            "graphs": ["stem"],
            "contract": "ab" * 32,
            "mib": 90.1,
            "path": str(tmp_path),
        },
        settings={
            "source": f"{USER}-at-home.mp4",
            "seconds": 10.0,
            "threads": None,
            "window_s": 2.0,
            "hop_s": 0.5,
            "enrolled_classes": 3,
        },
        device=f"/home/{USER}/libprovider.so",
        engines=(Timing("openvino", "static", 84.0), Timing("cpu", "dynamic", 110.0)),
        streaming=Streaming(2.0, 0.5, {"stem": TIMES}, TIMES, 0.02, SOURCES),
        cold_start=ColdStart((1.6,), {"python": 0.1}, 400.0),
        classes=(Classes(1, TIMES, 1.0, 1.0, 0.1, 0.1, 120.0, 0.5),),
        sources=(SOURCES,),
    )


def test_it_holds_no_path_no_host_and_no_user(bench: Bench) -> None:
    text = json.dumps(submission(bench))
    for private in (USER, HOST, "/home", "/tmp", ".mp4", ".so", "ab" * 32, bench.machine["measured"]):
        assert private not in text
    assert "/" not in text.replace("frames/s", "")


def test_it_holds_the_machine_the_versions_and_the_figures(bench: Bench) -> None:
    found = json.loads(json.dumps(submission(bench)))
    assert found["machine"]["processor"] == bench.machine["processor"]
    assert found["machine"]["libraries"]["numpy"]
    assert found["bundle"]["forms"] == ["dynamic", "static"]
    assert found["bundle"]["backbone"] == "another"
    assert found["device"] == "a plug-in provider"
    assert found["settings"]["source"] == "a video of the user's"
    assert found["engines"][0] == {"device": "openvino", "form": "static", "step_ms": 84.0}
    assert found["streaming"]["step"]["p50"] == 2.0
    assert found["cold_start"]["command_s"] == [1.6]


@pytest.mark.parametrize(
    ("device", "told"),
    [("cpu", "cpu"), ("openvino:GPU.1", "openvino:GPU.1"), ("CoreMLExecutionProvider", "CoreMLExecutionProvider")],
)
def test_devices_by_name_are_told(bench: Bench, device: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    monkeypatch.setattr(doctor_machine, "_text", lambda file, whole=False: "")  # a machine that says nothing
    named = dataclasses.replace(bench, device=device, bundle={**bench.bundle, "backbone": "ViT-B-16"})
    found = submission(named)
    assert (found["device"], found["bundle"]["backbone"]) == (told, "ViT-B-16")
    assert "board" not in found["machine"]
