"""Clips that should not be enrolled, each with its reason, and clips that should."""

from __future__ import annotations

import copy
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageFilter
from videos import color_frames, write_video

from maclip_runtime import ClipRejected, Recognizer, read_clip
from maclip_runtime.reading.frames import Pixels, Preprocess, prepare, segment_indices
from maclip_runtime.reading.quality import faults, figures


def codes(frames: Pixels, duration_s: float = 1.0) -> list[str]:
    return [reason.code for reason in faults(figures(frames), duration_s)]


@pytest.fixture(scope="module")
def scene() -> Pixels:
    """A sharp, textured picture that moves to the right: uint8 [8, 96, 96, 3]."""
    rng = np.random.default_rng(1)
    wide = rng.integers(0, 255, (24, 40, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    return np.stack([wide[:, 8 * step : 8 * step + 96] for step in range(8)])


def test_each_fault_has_its_reason(scene: Pixels) -> None:
    assert codes(scene) == []
    assert codes(scene, duration_s=0.1) == ["too-short"]
    assert codes(scene[:1].repeat(8, axis=0)) == ["still"]
    assert codes((scene // 26).astype(np.uint8)) == ["dark", "still"] or codes((scene // 26).astype(np.uint8)) == [
        "dark"
    ]
    assert codes((250 + scene // 64).astype(np.uint8))[0] == "bright"
    blurred = np.stack([np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(5))) for frame in scene])
    assert codes(blurred) == ["blurred"]


def test_noise_of_a_sensor_is_no_motion_but_a_small_hand_is(scene: Pixels) -> None:
    rng = np.random.default_rng(2)
    still = scene[:1].repeat(8, axis=0).astype(np.int16)
    noisy = np.clip(still + rng.normal(0, 4, still.shape), 0, 255).astype(np.uint8)
    assert codes(noisy) == ["still"]
    for step in range(8):
        noisy[step, 40:48, 10 * step : 10 * step + 8] = 255
    assert codes(noisy) == []


def test_real_clips_are_good(shared_data: Path) -> None:
    preprocess = Preprocess.for_size(224, (0, 0, 0), (1, 1, 1))
    paths = sorted((shared_data / "ibm_sports").rglob("*.mp4"))
    paths += sorted({file.parent for file in (shared_data / "ssv2small").rglob("*.jpg")})[::10]
    assert len(paths) > 10
    for path in paths:
        clip = read_clip(path, lambda total: segment_indices(total, 8), lambda frame: prepare(frame, preprocess))
        assert codes(clip.frames, clip.duration_s) == [], path


def test_all_bad_clips_are_named_and_none_is_kept(bundle: Path, enrolled: Path, clips: Path, tmp_path: Path) -> None:
    still = write_video(tmp_path / "still.mp4", color_frames("red", 1).repeat(12, axis=0))
    dark = write_video(tmp_path / "dark.mp4", (color_frames("red", 12) // 40).astype(np.uint8))
    with Recognizer.open(bundle, enrolled) as recognizer:
        before = recognizer.gallery.generation
        with pytest.raises(ClipRejected) as caught:
            recognizer.enroll("red light", [clips / "red3.mp4", still, dark])
        error = caught.value
        assert (error.code, error.exit_code) == ("clip-rejected", 2)
        assert [(one.source, one.reasons[0].code) for one in error.rejections] == [
            (str(still), "still"),
            (str(dark), "dark"),
        ]
        assert "at least" in error.message
        assert copy.copy(error).rejections == error.rejections
        assert recognizer.gallery.generation == before
        done = recognizer.enroll("red light", still, force=True)
        assert "still" in done.forced
        assert "still" in recognizer.gallery.clips("red light")[-1].forced
        assert recognizer.gallery.clips("red light")[0].forced == ()


def test_a_clip_encoded_again_is_a_duplicate(bundle: Path, enrolled: Path, clips: Path, tmp_path: Path) -> None:
    with av.open(str(clips / "red1.mp4")) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    again = write_video(tmp_path / "again.mp4", frames)
    with Recognizer.open(bundle, enrolled) as recognizer:
        with pytest.raises(ClipRejected) as caught:
            recognizer.enroll("red light", again)
        assert [reason.code for reason in caught.value.rejections[0].reasons] == ["duplicate"]
        with pytest.raises(ClipRejected) as caught:  # in another class too, where the frames are the same
            recognizer.enroll("blue light", clips / "red1.mp4")
        assert "'red light'" in caught.value.message
        with pytest.raises(ClipRejected):  # twice in one go
            recognizer.enroll("red light", [clips / "red3.mp4", clips / "red3.mp4"])
        assert recognizer.enroll("red light", clips / "red3.mp4").clips == 3


def test_a_clip_of_another_class_is_out_of_place(bundle: Path, gallery: Path) -> None:
    def drawn(color: str, seed: int) -> Pixels:
        return color_frames(color, 10, seed=seed)

    with Recognizer.open(bundle, gallery) as recognizer:
        for color in ("red", "green"):
            for seed in range(4):
                recognizer.enroll_frames(f"{color} light", drawn(color, seed), duration_s=1.0)
        # The opposite of red lies farther from it than green does, and is near to nothing.
        for frames, code in ((255 - drawn("red", 77), "far-from-class"), (drawn("green", 77), "near-other-class")):
            with pytest.raises(ClipRejected) as caught:
                recognizer.enroll_frames("red light", frames, duration_s=1.0)
            assert code in [reason.code for reason in caught.value.rejections[0].reasons]
        assert recognizer.enroll_frames("red light", drawn("red", 78), duration_s=1.0).clips == 5
        # A class that is new, or has few clips, is not judged by them.
        assert recognizer.enroll_frames("blue light", drawn("green", 79), duration_s=1.0).clips == 1
