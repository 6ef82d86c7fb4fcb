"""Two names that look the same are one class, wherever they come in; what looks like an answer is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from maclip_runtime import Gallery, Recognizer
from maclip_runtime.bundle.names import find_name, name_key, normal_form
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.exchange import export_gallery, import_gallery

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
SAME = [
    (COMPOSED, DECOMPOSED),
    ("\u1e69", "s\u0307\u0323"),  # marks in another order
    ("\uac00", "\u1100\u1161"),  # Hangul
    ("wave", "\uff57\uff41\uff56\uff45"),  # full width
    ("\ufb01sh", "fish"),  # a ligature
    ("wave", "wa\u200dve"),
    ("wave", "wave\ufe0f"),
    ("wave", "\u3164wave"),
    ("wave", "wa\u034fve"),
    ("wave", "\u2800wave"),
    ("wave hand", "wave\u3164hand"),
    ("می\u200cخواهم", "میخواهم"),
    ("👩\u200d👧", "👩👧"),
]
REFUSED = [
    *("unknown\u200d", "un\u200cknown", "unknown\ufe0f", "\uff35nknown", "UNCERTAIN\u3164", "un\u034fknown"),
    *("unknown\u2800", "\u200d", "\u3164", "\ufe0f\ufe0f", "\u2800", "\u115f\u1160", "\u034f"),
    *("a\u200bb", "a\u00adb", "a\ufeffb", "a\u202eb", "\udcff", "a\ud800b", "\ue000", "\x7f"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_spellings_of_a_name_are_one_class(
    bundle: Path, gallery: Path, clips: Path, tmp_path: Path, one: str, other: str
) -> None:
    with Recognizer.open(bundle, gallery) as recognizer:
        recognizer.enroll(one, clips / "red1.mp4", no_text=True)
        done = recognizer.enroll(other, clips / "red2.mp4", no_text=True)
        assert (done.name, done.clips) == (one, 2)  # as it was spelled first
        assert [info.name for info in recognizer.classes()] == [one]
        assert len(recognizer.gallery.clips(other)) == 2
        with pytest.raises(MaclipError) as caught:  # there already, in another spelling
            recognizer.enroll(other, clips / "red1.mp4", no_text=True)
        assert caught.value.code == "clip-rejected"
        recognizer.enroll("third", clips / "green1.mp4", no_text=True)
        with pytest.raises(MaclipError) as caught:
            recognizer.rename("third", other)
        assert caught.value.code == "class-exists"
        recognizer.rename(one, other)  # its own name, spelled otherwise
        assert [info.name for info in recognizer.classes()] == [other, "third"]
        export_gallery(recognizer.gallery, tmp_path / "out.zip")
    with Recognizer.open(bundle, tmp_path / "new.db") as recognizer:
        recognizer.enroll(one, clips / "red3.mp4", no_text=True)
        done = import_gallery(recognizer.gallery, tmp_path / "out.zip")
        assert done.joined == (one,)
        assert [(info.name, info.clips) for info in recognizer.classes()] == [(one, 3), ("third", 1)]
        assert recognizer.remove(other) == 3
        assert [info.name for info in recognizer.classes()] == ["third"]


def test_a_limit_is_found_under_the_other_spelling(bundle: Path, gallery: Path, clips: Path, tmp_path: Path) -> None:
    with Recognizer.open(bundle, gallery) as recognizer:
        recognizer.enroll(DECOMPOSED, [clips / "red1.mp4", clips / "red2.mp4"], no_text=True)
        recognizer.enroll("other", [clips / "green1.mp4", clips / "green2.mp4"], no_text=True)
        recognizer.calibrate()
        export_gallery(recognizer.gallery, tmp_path / "out.zip")
    with Recognizer.open(bundle, tmp_path / "new.db") as recognizer:
        recognizer.enroll(COMPOSED, clips / "red1.mp4", no_text=True)
        assert import_gallery(recognizer.gallery, tmp_path / "out.zip").limits == 2
        (info, _) = recognizer.classes()
        assert (info.name, info.clips, info.stale) == (COMPOSED, 2, False)
        assert info.limit is not None


@pytest.mark.parametrize("name", REFUSED, ids=[ascii(name) for name in REFUSED])
def test_what_looks_like_an_answer_or_like_nothing_is_refused(
    bundle: Path, enrolled: Path, clips: Path, name: str
) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        for act in (
            lambda: recognizer.enroll(name, clips / "red3.mp4", no_text=True),
            lambda: recognizer.rename("red light", name),
        ):
            with pytest.raises(MaclipError) as caught:
                act()
            assert caught.value.code == "name-invalid"
        for act in (lambda: recognizer.remove(name), lambda: recognizer.gallery.clips(name)):
            with pytest.raises(MaclipError) as caught:
                act()
            assert caught.value.code == "class-unknown"


def test_letter_case_tells_classes_apart_as_ever(bundle: Path, gallery: Path, clips: Path) -> None:
    with Recognizer.open(bundle, gallery) as recognizer:
        recognizer.enroll("wave", clips / "red1.mp4", no_text=True)
        recognizer.enroll("Wave", clips / "green1.mp4", no_text=True)
        assert [info.name for info in recognizer.classes()] == ["wave", "Wave"]


def test_galleries_with_both_spellings_are_read_and_can_be_repaired(bundle: Path, enrolled: Path) -> None:
    """As older versions left them: the exact name is found first."""
    with Gallery(enrolled) as opened:
        with opened._changing() as connection:
            connection.execute("UPDATE clips SET class = ? WHERE class = 'red light'", (COMPOSED,))
            connection.execute("UPDATE clips SET class = ? WHERE class = 'green light'", (DECOMPOSED,))
        assert len(opened.clips(COMPOSED)) == len(opened.clips(DECOMPOSED)) == 2
        assert opened.clips(COMPOSED)[0].class_name == COMPOSED
        opened.rename(DECOMPOSED, "tea")
        assert [info.name for info in opened.classes()] == [COMPOSED, "tea"]


def test_the_vocabulary_is_compared_in_the_same_form() -> None:
    for one, other in [*SAME, ("wave hand", "wave\u00a0\u3000\n hand")]:
        assert normal_form(one) == normal_form(other)
        assert find_name(("x", one.upper()), other) == 1 or one.upper() == one
    assert name_key("Push_Up\u200d ") == name_key("push  up")
    assert normal_form(normal_form("e\u200d\u0301")) == normal_form("e\u200d\u0301") == "\u00e9"
