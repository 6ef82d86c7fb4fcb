"""A recogniser that was closed holds nothing, and says so to whoever still uses it."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn_camera import camera_frames
from videos import color_frames

import maclip_runtime
from maclip_runtime import Recognizer
from maclip_runtime.errors import MaclipError

FRAMES = color_frames("red", 10)
USES: dict[str, Callable[[Recognizer, Path], Any]] = {
    "enroll": lambda recognizer, clip: recognizer.enroll("red light", clip),
    "enroll_frames": lambda recognizer, clip: recognizer.enroll_frames("red light", FRAMES, duration_s=1.0),
    "add_negatives": lambda recognizer, clip: recognizer.add_negatives(clip),
    "calibrate": lambda recognizer, clip: recognizer.calibrate(clip),
    "classify": lambda recognizer, clip: recognizer.classify(clip),
    "diagnose": lambda recognizer, clip: recognizer.diagnose(),
    "watch": lambda recognizer, clip: recognizer.watch(clip),
    "stream": lambda recognizer, clip: recognizer.stream(),
    "embed": lambda recognizer, clip: recognizer.embed(FRAMES),
    "classes": lambda recognizer, clip: recognizer.classes(),
    "remove": lambda recognizer, clip: recognizer.remove("red light"),
    "rename": lambda recognizer, clip: recognizer.rename("red light", "stop"),
    "gallery": lambda recognizer, clip: recognizer.gallery,
    "index": lambda recognizer, clip: recognizer.index,
    "enroller": lambda recognizer, clip: recognizer.enroller,
}


def code_of(use: Callable[[], Any]) -> str:
    with pytest.raises(MaclipError) as caught:
        use()
    return caught.value.code


def test_every_use_of_a_closed_recogniser_says_so(bundle: Path, enrolled: Path, clips: Path) -> None:
    public = {name for name in vars(Recognizer) if not name.startswith("_")} - {"open", "close"}
    assert public == set(USES)
    recognizer = Recognizer.open(bundle, enrolled)
    with recognizer:
        pass
    recognizer.close()  # twice is fine
    for name, use in USES.items():
        assert code_of(lambda use=use: use(recognizer, clips / "red1.mp4")) == "recognizer-closed", name
    assert recognizer._gallery._opened is None  # nothing opened it again


@pytest.mark.parametrize(
    ("device", "module", "kept"), [("cpu", "onnxruntime", "_sessions"), ("openvino-f32", "openvino", "_compiled")]
)
def test_closing_frees_the_loaded_graphs(
    bundle: Path, enrolled: Path, clips: Path, device: str, module: str, kept: str
) -> None:
    pytest.importorskip(module)
    recognizer = Recognizer.open(bundle, enrolled, device=device)
    recognizer.classify(clips / "red1.mp4")
    graphs = [weakref.ref(graph) for graph in getattr(recognizer.encoder.engine, kept).values()]
    assert graphs
    recognizer.close()
    assert all(graph() is None for graph in graphs)
    assert recognizer.encoder.device == device


def test_open_streams_and_watches_refuse(bundle: Path, enrolled: Path, clips: Path) -> None:
    recognizer = Recognizer.open(bundle, enrolled)
    watch = recognizer.watch(clips / "red1.mp4", window_s=0.4)
    next(watch)
    begun, never = recognizer.stream(window_s=1.0), recognizer.stream()
    with recognizer.stream(window_s=1.0) as left:
        for one in camera_frames(("red", 3.0)):
            begun.push(one.pixels, one.time_s)
            left.push(one.pixels, one.time_s)
        recognizer.close()
    assert [event.kind for event in left.end()] == ["end"]  # what was open when the block was left
    assert code_of(lambda: list(watch)) == "recognizer-closed"
    assert code_of(lambda: begun.push(FRAMES[0], 4.0)) == "recognizer-closed"
    assert code_of(begun.end) == "recognizer-closed"
    assert code_of(lambda: never.push(FRAMES[0], 0.0)) == "recognizer-closed"


def test_options_are_keyword_only() -> None:
    positional = {
        name: [
            parameter.name
            for parameter in inspect.signature(getattr(Recognizer, name)).parameters.values()
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY and parameter.name != "self"
        ]
        for name in USES
        if inspect.isfunction(getattr(Recognizer, name))
    }
    assert positional == {
        "enroll": ["name", "clips"],
        "enroll_frames": ["name", "frames"],
        "add_negatives": ["clips"],
        "calibrate": ["background"],
        "classify": ["clip"],
        "diagnose": [],
        "watch": ["sources"],
        "stream": [],
        "embed": ["frames"],
        "classes": [],
        "remove": ["name"],
        "rename": ["old", "new"],
    }
    assert list(inspect.signature(Recognizer.open).parameters)[:2] == ["bundle", "gallery"]


def test_everything_that_is_exported_is_there() -> None:
    for name in maclip_runtime.__all__:
        assert getattr(maclip_runtime, name).__name__ == name
    assert {"Callbacks", "SourceState", "SourceStatus", "Stream", "Verdict"} <= set(maclip_runtime.__all__)
    assert not {"Encoder", "Match"} & set(maclip_runtime.__all__)
