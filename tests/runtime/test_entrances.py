"""Every public method turns what it is given into plain values, and refuses by name what it cannot use."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from videos import color_frames, color_video

from maclip_runtime import (
    Bundle,
    Decisions,
    Gallery,
    Overlay,
    Recognizer,
    Roi,
    SinkOptions,
    SourceOptions,
    open_sink,
    open_source,
    read_clip,
    values,
)
from maclip_runtime.callbacks import Callbacks
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.exchange import export_gallery, import_gallery
from maclip_runtime.reading.take import Take

NUMBERS = [
    *(kind(1) for kind in (int, float, Fraction, np.float16, np.float32, np.float64, np.longdouble)),
    *(kind(1) for kind in (np.int8, np.uint8, np.int32, np.int64, np.uint64)),
    np.array(1.0, np.float32),
    np.array(1),
]
# None is left out where it means "the default".
NO_NUMBERS = [
    *(math.nan, math.inf, -math.inf, np.float32("nan"), np.float64("inf"), 10**400, 10**5000),
    *(True, np.True_, 1j, np.complex64(1), Decimal("1"), "1", b"1", [1.0], (1.0,), {}, {"a": 1}, object()),
    *(np.array([1.0]), np.zeros(0), np.zeros((2, 2)), np.array("1"), np.datetime64("2020-01-01"), np.array(None)),
]
NO_TEXT = [None, 7, 1.5, b"a", ["a"], np.array(["a"]), object()]
NO_PATHS = [None, 1.5, b"a.mp4", object(), "", "a\0b", {"a": 1}, np.zeros(0), [[]], [None], [b"a"], np.zeros((2, 2))]
NO_FLAGS = [None, 0, 1, "no", "", [], np.float32(0), np.array([True])]
PIXELS = color_frames("red", 8)
NO_CLIPS = [
    *(None, [], PIXELS.tolist(), PIXELS.tobytes(), PIXELS.astype(np.float32), PIXELS.astype(np.int64), PIXELS[0]),
    *(PIXELS[..., :1], PIXELS[..., 0], PIXELS[:, :0], np.zeros(0), "a.mp4", PIXELS.transpose(0, 3, 1, 2)),
]


@pytest.fixture
def recognizer(bundle: Path, enrolled: Path) -> Iterator[Recognizer]:
    with Recognizer.open(bundle, enrolled) as opened:
        yield opened


def refused(act: Callable[[], object], *codes: str, max_length: int = 400) -> str:
    with pytest.raises(MaclipError) as caught:
        act()
    assert caught.value.code in codes, caught.value
    assert caught.value.fix
    assert len(caught.value.message) < max_length
    return caught.value.message


@pytest.mark.parametrize("number", NUMBERS, ids=lambda one: type(one).__name__)
def test_a_number_of_any_type_is_a_plain_number_everywhere(
    recognizer: Recognizer, bundle: Path, enrolled: Path, tmp_path: Path, number: Any
) -> None:
    video = color_video(tmp_path / "red.mp4", [("red", 3.0)])
    one = recognizer.gallery.clips("red light")[0].id
    assert recognizer.enroll_frames("mine", color_frames("blue", 8), duration_s=number, no_text=True).added == 1
    assert recognizer.gallery.clips("mine")[0].duration_s == 1.0
    recognizer.gallery.clips(ids=[np.int64(one)])
    events = list(recognizer.watch(video, window_s=number, hop_s=number, motion_gate=number))
    with recognizer.stream(window_s=number, hop_s=number, motion_gate=number) as stream:
        for place, frame in enumerate(color_frames("red", 30)):
            events += stream.push(frame, (number - number) + np.float32(place / 10))
        events += stream.end()
    assert events
    for event in events:  # as a sink writes it
        json.dumps(dataclasses.asdict(event))
    recognizer.calibrate(video, window_s=number, hop_s=number, seconds=number, false_alarms=number)
    options = Decisions(min_score=number, limit=number, min_margin=number, gap_s=number, min_duration_s=number)
    for kind, given in (
        (Decisions, options),
        (SourceOptions, SourceOptions(stall_s=number, roi=Roi(0, 0, number, number))),
    ):
        for field in dataclasses.fields(kind):
            assert type(getattr(given, field.name)) in {int, float, bool, type(None), Roi, str}, field.name
    if isinstance(number, (int, np.integer)) or (isinstance(number, np.ndarray) and number.dtype.kind == "i"):
        assert type(SinkOptions(max_bytes=number, keep=number).keep) is int
        assert type(SourceOptions(reconnects=number).reconnects) is int
        Recognizer.open(bundle, enrolled, threads=number).close()
        assert recognizer.remove("red light", clip_id=np.asarray(one, dtype=np.int64)) == 1
    with Gallery(enrolled) as again:  # what was stored is read back
        assert {info.name for info in again.classes()} == {"red light", "green light", "mine"}


@pytest.mark.parametrize("bad", NO_NUMBERS, ids=lambda one: type(one).__name__)
def test_what_is_no_number_is_refused_by_its_name(
    recognizer: Recognizer, bundle: Path, enrolled: Path, clips: Path, bad: Any
) -> None:
    """An infinite limit is one: it accepts everything."""
    red = clips / "red3.mp4"
    before = recognizer.gallery.generation
    for key in ("window_s", "hop_s"):
        assert key in refused(lambda key=key: recognizer.watch(red, **{key: bad}), "window-invalid")
        assert key in refused(lambda key=key: recognizer.stream(**{key: bad}), "window-invalid")
        assert key in refused(lambda key=key: recognizer.calibrate(red, **{key: bad}), "window-invalid")
    for act in (lambda: recognizer.watch(red, motion_gate=bad), lambda: recognizer.stream(motion_gate=bad)):
        assert "motion_gate" in refused(act, "motion-invalid")
    for key in ("seconds", "false_alarms"):
        assert key in refused(lambda key=key: recognizer.calibrate(red, **{key: bad}), "option-invalid")
    assert "duration_s" in refused(
        lambda: recognizer.enroll_frames("mine", PIXELS, duration_s=bad, no_text=True), "frames-invalid"
    )
    with recognizer.stream() as stream:
        assert "time_s" in refused(lambda: stream.push(PIXELS[0], bad), "frames-invalid")
    for field in dataclasses.fields(Decisions):
        if field.type != "bool" and not (field.name == "limit" and values.shown(bad) in {"inf", "-inf"}):
            key = field.name
            assert key in refused(lambda key=key: Decisions(**{key: bad}), "decisions-invalid")
    assert "stall_s" in refused(lambda: SourceOptions(stall_s=bad), "option-invalid")
    assert "reconnects" in refused(lambda: SourceOptions(reconnects=bad), "option-invalid")
    for key in ("max_bytes", "keep"):
        assert key in refused(lambda key=key: SinkOptions(**{key: bad}), "option-invalid")
    for key in ("x", "y", "width", "height"):
        refused(lambda key=key: Roi(**{"x": 0.0, "y": 0.0, "width": 1.0, "height": 1.0, key: bad}), "roi-invalid")
    refused(lambda: Recognizer.open(bundle, enrolled, threads=bad), "option-invalid")
    refused(lambda: recognizer.remove("red light", clip_id=bad), "option-invalid")
    refused(lambda: recognizer.gallery.remove_negatives(clip_id=bad), "option-invalid")
    refused(lambda: recognizer.gallery.clips(ids=[bad]), "option-invalid")
    assert recognizer.gallery.generation == before


@pytest.mark.parametrize("number", [0, -1, 0.0, -0.5, np.float32(-1), 1e300, 2**63])
def test_numbers_out_of_their_range_are_refused(recognizer: Recognizer, clips: Path, number: Any) -> None:
    red = clips / "red3.mp4"
    refused(lambda: recognizer.watch(red, window_s=number), "window-invalid")
    refused(lambda: recognizer.stream(hop_s=number), "window-invalid")
    refused(lambda: recognizer.enroll_frames("mine", PIXELS, duration_s=number, no_text=True), "frames-invalid")
    refused(lambda: SourceOptions(stall_s=number), "option-invalid")
    refused(lambda: SinkOptions(keep=number), "option-invalid")
    refused(lambda: recognizer.remove("red light", clip_id=number), "option-invalid", "clip-unknown")
    with recognizer.stream() as stream:
        for time_s in (1e300, -1e300):
            refused(lambda time_s=time_s: stream.push(PIXELS[0], time_s), "frames-invalid")


@pytest.mark.parametrize("bad", NO_TEXT, ids=lambda one: type(one).__name__)
def test_what_is_no_text_is_no_name(
    recognizer: Recognizer, bundle: Path, enrolled: Path, clips: Path, bad: Any
) -> None:
    red = clips / "red3.mp4"
    refused(lambda: recognizer.enroll(bad, red), "name-invalid")
    refused(lambda: recognizer.enroll_frames(bad, PIXELS, duration_s=1.0), "name-invalid")
    refused(lambda: recognizer.rename("red light", bad), "name-invalid")
    refused(lambda: recognizer.rename(bad, "red"), "class-unknown")
    refused(lambda: recognizer.remove(bad), "class-unknown")
    refused(lambda: recognizer.stream(name=bad), "option-invalid")
    for name in ("", " ", "a\nb", "x" * 1000):
        refused(lambda name=name: recognizer.stream(name=name), "option-invalid")
    refused(lambda: Recognizer.open(bundle, enrolled, device=bad), "option-invalid")
    refused(
        lambda: recognizer.enroll_frames("mine", PIXELS, duration_s=1.0, no_text=True, source=bad), "option-invalid"
    )
    refused(lambda: Roi.parse(bad), "roi-invalid")
    if bad is not None:  # None: without
        refused(lambda: recognizer.enroll("mine", red, text=bad), "name-invalid")
        refused(lambda: recognizer.gallery.clips(bad), "class-unknown")
        refused(lambda: Gallery(enrolled, contract=bad), "option-invalid")


@pytest.mark.parametrize("bad", NO_PATHS, ids=range(len(NO_PATHS)))
def test_what_is_no_path_is_no_clip_and_no_source(
    recognizer: Recognizer, bundle: Path, enrolled: Path, tmp_path: Path, bad: Any
) -> None:
    refused(lambda: recognizer.classify(bad), "option-invalid")
    refused(lambda: Recognizer.open(bad, enrolled), "option-invalid")
    refused(lambda: Recognizer.open(bundle, bad), "option-invalid")
    refused(lambda: Gallery(bad), "option-invalid")
    refused(lambda: export_gallery(recognizer.gallery, bad), "option-invalid")
    refused(lambda: import_gallery(recognizer.gallery, bad), "option-invalid")
    for act in (recognizer.watch, recognizer.add_negatives, lambda clip: recognizer.enroll("red light", clip)):
        refused(lambda act=act: act(bad), "option-invalid", "clip-missing")
    if not (isinstance(bad, np.ndarray) and not bad.size):  # nothing: no background
        refused(lambda: recognizer.calibrate(bad), "option-invalid")


@pytest.mark.parametrize("bad", NO_FLAGS, ids=range(len(NO_FLAGS)))
def test_yes_and_no_are_no_other_values(
    recognizer: Recognizer, bundle: Path, enrolled: Path, clips: Path, bad: Any
) -> None:
    red = clips / "red3.mp4"
    for key in ("no_text", "force"):
        assert key in refused(lambda key=key: recognizer.enroll("red light", red, **{key: bad}), "option-invalid")
    refused(lambda: recognizer.add_negatives(red, force=bad), "option-invalid")
    refused(lambda: Recognizer.open(bundle, enrolled, allow_fallback=bad), "option-invalid")
    refused(lambda: Recognizer.open(bundle, enrolled, trust_engines=bad), "option-invalid")
    refused(lambda: Decisions(report_unknown=bad), "decisions-invalid")
    refused(lambda: Decisions(overlap=bad), "decisions-invalid")
    refused(lambda: SourceOptions(wait=bad), "option-invalid")
    assert SourceOptions(wait=np.True_).wait is True


@pytest.mark.parametrize("bad", NO_CLIPS, ids=range(len(NO_CLIPS)))
def test_frames_that_are_none_are_refused(recognizer: Recognizer, bad: Any) -> None:
    refused(lambda: recognizer.embed(bad), "frames-invalid")
    refused(lambda: recognizer.enroll_frames("mine", bad, duration_s=1.0, no_text=True), "frames-invalid")
    with recognizer.stream() as stream:
        for frame in (bad, PIXELS[0, :, :, :1], PIXELS[0].astype(float), PIXELS[0, 0], PIXELS[0, :, :0], PIXELS):
            if not (isinstance(frame, np.ndarray) and frame.shape == PIXELS.shape[1:]):
                refused(lambda frame=frame: stream.push(frame, 0.0), "frames-invalid")


def test_objects_of_other_classes_are_refused(
    recognizer: Recognizer, bundle: Path, enrolled: Path, clips: Path
) -> None:
    red = clips / "red3.mp4"
    refused(lambda: Recognizer.open(bundle, enrolled, decisions={"limit": 1}), "option-invalid")  # type: ignore[arg-type]
    refused(lambda: SourceOptions(roi=(0, 0, 1, 1)), "option-invalid")  # type: ignore[arg-type]
    for roi in ("0,0,1,1", (0, 0, 1, 1), np.ones(4)):
        refused(lambda roi=roi: recognizer.classify(red, roi=roi), "option-invalid")
        refused(lambda roi=roi: recognizer.enroll("red light", red, roi=roi), "option-invalid")
        refused(lambda roi=roi: recognizer.add_negatives(red, roi=roi), "option-invalid")
    for options in ({"stall_s": 1}, [None], "wait", [SourceOptions(), "wait"]):
        refused(lambda options=options: recognizer.watch([red, red], options=options), "option-invalid")
        refused(lambda options=options: recognizer.calibrate(red, options=options), "option-invalid")
    for callbacks in (Callbacks(), [print], [None], "ab", 7, None):
        refused(lambda callbacks=callbacks: recognizer.watch(red, callbacks=callbacks), "option-invalid")
    for progress in (7, "x", []):
        refused(lambda progress=progress: recognizer.enroll("red light", red, progress=progress), "option-invalid")
        refused(lambda progress=progress: recognizer.calibrate(progress=progress), "option-invalid")


@pytest.mark.parametrize("bad", NO_PATHS, ids=range(len(NO_PATHS)))
def test_functions_that_open_something_refuse_likewise(
    recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    for act in (open_source, open_sink, Bundle.open, lambda clip: read_clip(clip, lambda total: np.arange(4))):
        refused(lambda act=act: act(bad), "option-invalid")
    for act in (recognizer.gallery.texts, recognizer.gallery.keep_limits):
        if not (isinstance(bad, (str, np.ndarray)) and not len(bad)):
            refused(lambda act=act: act(bad), "option-invalid")
    assert sorted(tmp_path.iterdir()) == before  # no file that is called "None"


NO_FILES = ["x" * 100_000, "a/" + "x" * 300, "a/" * 5000]


@pytest.mark.parametrize("bad", NO_FILES, ids=range(len(NO_FILES)))
def test_a_path_that_the_system_refuses_is_a_missing_file(
    recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    monkeypatch.chdir(tmp_path)
    clip = ("clip-unreadable", "option-invalid")
    for act in (recognizer.classify, recognizer.add_negatives, open_source, lambda one: list(recognizer.watch(one))):
        refused(lambda act=act: act(bad), *clip, max_length=11_000)
    refused(lambda: recognizer.enroll("red light", bad), *clip, max_length=11_000)
    refused(lambda: recognizer.calibrate(bad), *clip, max_length=11_000)
    refused(lambda: Bundle.open(bad), "bundle-missing", "bundle-corrupt", max_length=11_000)
    refused(lambda: Overlay(f"{bad}.mp4"), "output-unwritable", max_length=11_000)
    refused(lambda: open_sink(bad), "output-unwritable", max_length=11_000)
    refused(lambda: export_gallery(recognizer.gallery, bad), "output-unwritable", max_length=11_000)
    refused(lambda: import_gallery(recognizer.gallery, bad), "import-corrupt", max_length=11_000)


def test_half_a_character_is_no_path(recognizer: Recognizer) -> None:
    """Half of a surrogate pair has no bytes. What Python makes of bytes that are not UTF-8 is a path."""
    for act in (recognizer.classify, Bundle.open, Gallery, open_source, open_sink, Overlay):
        refused(lambda act=act: act("a\ud800"), "option-invalid")
    refused(lambda: recognizer.classify("a\udcff.mp4"), "clip-unreadable")


@pytest.mark.parametrize("bad", [None, 7, b"a", object(), np.zeros((2, 2)), [None], {"a": 1}], ids=range(7))
def test_parts_of_a_recogniser_refuse_likewise(recognizer: Recognizer, clips: Path, bad: Any) -> None:
    gallery, bundle, red = recognizer.gallery, recognizer.bundle, clips / "red3.mp4"
    clip, graph = gallery.clips()[0], bundle.graph_digest("prototype")
    made = clip.features[None]
    codes = ("option-invalid", "clip-invalid", "features-invalid")
    before = gallery.generation
    refused(lambda: recognizer.enroller.enroll_takes("red light", bad), *codes)
    refused(lambda: recognizer.enroller.enroll_takes("red light", [Take(bad, 1.0, "x")]), "frames-invalid")
    if bad is not None:
        refused(lambda: recognizer.enroller.add_negatives(red, progress=bad), *codes)
    for act in (bundle.has_name, bundle.text_feature, bundle.graph_file, bundle.graph_digest):
        refused(lambda act=act: act(bad), *codes)
    for act in (gallery.shown_before, gallery.prototypes, gallery.measured_limit, Overlay):
        refused(lambda act=act: act(bad), *codes)
    refused(lambda: gallery.add(bad, made, graph), *codes)
    refused(lambda: gallery.add([clip], bad, graph), *codes)
    refused(lambda: gallery.add([clip], made, bad), *codes)
    refused(lambda: gallery.add([clip], made, graph, force=bad), *codes)
    refused(lambda: gallery.add([clip, clip], made, graph), *codes)
    assert gallery.generation == before


def test_paths_may_come_in_any_order_and_kind_of_list(recognizer: Recognizer, clips: Path) -> None:
    paths = [clips / "red3.mp4"]
    for given in (paths, tuple(paths), iter(paths), np.array([str(paths[0])]), str(paths[0]), np.str_(paths[0])):
        assert recognizer.enroll("red light", given, force=True).added == 1
    assert {type(clip.source) for clip in recognizer.gallery.clips()} == {str}


def test_a_message_shows_any_value_in_one_short_line() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    for value in (Hostile(), 10**5000, "x" * 10**6, ["x"] * 10**6, np.zeros((10, 10)), "a\nb\x1b[2J"):
        said = values.shown(value)
        assert len(said) < 100
        assert said.isprintable()
