"""Moving clips between classes, and undoing any change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maclip_runtime import EnrolledClip, Recognizer
from maclip_runtime.errors import MaclipError


def contents(recognizer: Recognizer) -> list[tuple[int, str, str | None, bytes]]:
    found: list[EnrolledClip] = [*recognizer.gallery.clips(), *recognizer.gallery.negatives()]
    return [(clip.id, clip.class_name, clip.text_name, clip.features.tobytes()) for clip in found]


def test_a_moved_clip_counts_for_its_new_class_without_the_old_text(bundle: Path, enrolled: Path) -> None:
    with Recognizer.open(bundle, enrolled, device="cpu") as recognizer:
        red, green = (recognizer.gallery.clips(name) for name in ("red light", "green light"))
        assert recognizer.gallery.move([green[0].id], "red light") == 1
        (moved,) = recognizer.gallery.clips(ids=[green[0].id])
        assert (moved.class_name, moved.text_name) == ("red light", None)
        np.testing.assert_array_equal(moved.features, green[0].query)
        assert {info.name: info.clips for info in recognizer.classes()} == {"red light": 3, "green light": 1}
        recognizer.index.ready()  # its prototype is made again
        # A new class takes the text along.
        recognizer.gallery.move([red[0].id], "red lamp")
        assert recognizer.gallery.clips(ids=[red[0].id])[0].text_name == "red light"


def test_a_move_of_a_clip_that_is_not_there_moves_none(bundle: Path, enrolled: Path, clips: Path) -> None:
    with Recognizer.open(bundle, enrolled, device="cpu") as recognizer:
        (negative,) = recognizer.enroller.add_negative_takes([_take(recognizer, clips / "blue1.mp4")])
        before = contents(recognizer)
        for ids in ([before[0][0], 99], [negative], []):
            with pytest.raises(MaclipError) as caught:
                recognizer.gallery.move(ids, "green light")
            assert caught.value.code == "clip-unknown"
        assert contents(recognizer) == before


def test_any_change_can_be_undone(bundle: Path, enrolled: Path, clips: Path) -> None:
    with Recognizer.open(bundle, enrolled, device="cpu") as recognizer:
        recognizer.calibrate()
        gallery = recognizer.gallery
        before, limits, rows = contents(recognizer), gallery.limits(), gallery.clips()
        label = recognizer.classify(clips / "red3.mp4").distances
        done = recognizer.enroll("blue light", [clips / "blue1.mp4"])
        assert len(done.ids) == 1
        gallery.move([rows[0].id], "green light")
        gallery.rename("red light", "scarlet")
        gallery.remove("green light")
        gallery.restore(rows, gone=done.ids, limits=list(limits.values()))
        assert contents(recognizer) == before
        assert gallery.limits() == limits
        assert recognizer.classify(clips / "red3.mp4").distances == pytest.approx(label)


def _take(recognizer: Recognizer, clip: Path):  # type: ignore[no-untyped-def]
    from maclip_runtime.matching.clips import read_take

    return read_take(clip, recognizer.bundle.manifest)
