""" "auto" follows what was measured on this machine, else a rule; it never measures by itself."""

from __future__ import annotations

import json
import logging
import platform
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from two_forms import write_two_forms

from maclip_runtime import Recognizer
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines import choice, open_engine, timing
from maclip_runtime.engines.choice import Timing, choice_file, choose, keep_timings, read_timings

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
TIMINGS = (Timing("openvino-f32", None, 3.0), Timing("cpu", None, 4.5))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MACLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@needs_openvino
def test_auto_follows_what_was_measured(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened = Bundle.open(bundle)
    assert open_engine(opened).device in ("cpu", "cuda")
    keep_timings(opened, TIMINGS)
    with caplog.at_level(logging.INFO, "maclip"):
        assert open_engine(opened).device == "openvino-f32"
    assert "auto: measured here, milliseconds a step: openvino-f32 3, cpu 4.5" in caplog.text


def test_an_engine_that_is_gone_is_passed_over(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Bundle.open(bundle)
    keep_timings(opened, TIMINGS)
    monkeypatch.setattr(choice, "works", lambda device: device == "cpu")
    assert choose(opened).device == "cpu"


def test_measuring_times_each_engine_in_each_form(tmp_path: Path) -> None:
    opened = Bundle.open(write_two_forms(tmp_path / "b"))
    noted: list[str] = []
    found = timing.measure(opened, note=noted.append)
    devices = {"cpu", "openvino"} if find_spec("openvino") else {"cpu"}
    assert {(one.device, one.form) for one in found if one.device != "cuda"} == {
        (device, form) for device in devices for form in ("dynamic", "static")
    }
    assert [one.step_ms for one in found] == sorted(one.step_ms for one in found)
    assert all(one.step_ms > 0 for one in found)
    assert len(noted) == len(found)
    assert read_timings(opened) == found
    assert choose(opened).device == found[0].device
    assert "measured here" in choose(opened).why


def test_recognising_measures_nothing(bundle: Path, enrolled: Path, cache: Path, clips: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        recognizer.classify(clips / "red1.mp4")
    assert not (cache / "choices").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"libraries": {}, "timings": 3}', b"\xff", b'{"libraries": {}}', b"x" * 100_000, "folder"],
)
def test_a_damaged_file_is_ignored_with_one_line(
    content: bytes | str, bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = Bundle.open(bundle)
    file = choice_file(opened)
    file.parent.mkdir(parents=True)
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.mkdir()
    with caplog.at_level(logging.WARNING, "maclip"):
        assert choose(opened).timings == ()
    (record,) = caplog.records
    assert "is ignored" in record.message
    assert "doctor --bundle" in record.message


def test_another_version_is_ignored_with_one_line(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = Bundle.open(bundle)
    keep_timings(opened, TIMINGS)
    monkeypatch.setattr(choice, "installed_libraries", lambda: {"onnxruntime": "99.0"})
    assert choose(opened).timings == ()
    (record,) = caplog.records
    assert "here is onnxruntime 99.0" in record.message


def test_other_graphs_processors_and_cores_are_measured_for_themselves(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Bundle.open(bundle)
    files = {choice_file(opened), choice_file(Bundle.open(write_two_forms(tmp_path / "b")))}
    files.add(choice_file(Bundle.open(write_two_forms(tmp_path / "one", only="dynamic"))))
    monkeypatch.setattr(choice, "usable_cores", lambda: 77)
    files.add(choice_file(opened))
    monkeypatch.setattr(choice, "processor_name", lambda: "another")
    files.add(choice_file(opened))
    # A bundle of one form with the graphs of the first bundle is the same network.
    assert len(files) == 4


def test_two_at_once_leave_one_whole_file(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: keep_timings(opened, (Timing("cpu", None, 1.0 + number),)), range(40)))
    file = choice_file(opened)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert len(json.loads(file.read_text())["timings"]) == 1


def test_without_a_place_for_the_cache_the_result_is_still_there(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MACLIP_CACHE", str(tmp_path / "file"))
    assert timing.measure(Bundle.open(bundle))
    assert "cannot be kept" in caplog.text


def test_an_engine_that_fails_is_left_out(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = timing.time_devices(Bundle.open(bundle), ["NoSuchExecutionProvider", "cpu"], seconds=0.01)
    assert [one.device for one in found] == ["cpu"]
    assert "cannot be timed" in caplog.text


@needs_openvino
@pytest.mark.skipif(platform.machine() not in choice.X86_64, reason="the rule is of x86-64")
def test_the_rule_without_a_measurement(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "works", lambda device: device != "cuda")

    def chosen(path: Path) -> str:
        return choose(Bundle.open(path)).device

    assert chosen(bundle) == "cpu"
    assert chosen(write_two_forms(tmp_path / "both")) == "openvino"
    assert chosen(write_two_forms(tmp_path / "static", only="static")) == "openvino"
    assert chosen(write_two_forms(tmp_path / "dynamic", only="dynamic")) == "cpu"
    # By the export's figures, where it had both engines.
    steps = {("onnxruntime", "dynamic"): 4.0, ("openvino", "static"): 5.0}
    assert chosen(write_two_forms(tmp_path / "measured", steps=steps)) == "cpu"
    assert chosen(write_two_forms(tmp_path / "one", steps={("onnxruntime", "dynamic"): 4.0})) == "openvino"
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    assert chosen(tmp_path / "both") == "cpu"
