"""A gallery in one file: it comes back as it was, joins another, and whatever a stranger puts in is refused."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from maclip_runtime import Gallery, Recognizer
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.exchange import export_gallery, import_gallery

Parts = dict[str, bytes]


@pytest.fixture
def exported(bundle: Path, enrolled: Path, clips: Path, tmp_path: Path) -> Path:
    """The `enrolled` gallery with a negative and calibrated limits, in one file."""
    with Recognizer.open(bundle, enrolled) as recognizer:
        recognizer.add_negatives(clips / "blue1.mp4")
        recognizer.calibrate()
        export_gallery(recognizer.gallery, tmp_path / "exported.zip")
    return tmp_path / "exported.zip"


def read_parts(file: Path) -> Parts:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_parts(file: Path, parts: Parts, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return file


def with_facts(change: Callable[[dict[str, Any]], None]) -> Callable[[Parts], None]:
    """A change of gallery.json."""

    def apply(parts: Parts) -> None:
        facts = json.loads(parts["gallery.json"])
        change(facts)
        parts["gallery.json"] = json.dumps(facts).encode()

    return apply


def with_clip(**values: Any) -> Callable[[Parts], None]:
    return with_facts(lambda facts: facts["clips"][1].update(values))


def arrays(value: float = 0.5, shape: tuple[int, int] = (4, 12), text: int = 12, dtype: str = "<f4") -> bytes:
    """Features and, `text` numbers wide, a text feature."""
    made = {key: np.full(shape, value, dtype) for key in ("features", "query")}
    return save({**made, "text": np.zeros(text, dtype)} if text else made)


def test_a_gallery_comes_back_as_it_was(
    bundle: Path, enrolled: Path, exported: Path, clips: Path, tmp_path: Path
) -> None:
    with Gallery(tmp_path / "new.db") as gallery:
        done = import_gallery(gallery, exported)
        assert (done.added, done.skipped, done.negatives, done.limits) == (5, 0, 1, 2)
        assert done.classes == ("red light", "green light")
    with Recognizer.open(bundle, enrolled) as old, Recognizer.open(bundle, tmp_path / "new.db") as new:
        assert new.classes() == old.classes()
        assert not any(info.stale for info in new.classes())
        for clip in ("red3.mp4", "blue1.mp4"):
            assert new.classify(clips / clip) == old.classify(clips / clip)
        for one, other in zip(old.gallery.clips(), new.gallery.clips(), strict=True):
            np.testing.assert_array_equal(one.features, other.features)
            assert (one.thumbnail, one.enrolled_at, one.source) == (other.thumbnail, other.enrolled_at, other.source)
    assert not list(tmp_path.glob(".maclip-*"))


def test_importing_joins_classes_and_skips_what_is_there(
    bundle: Path, gallery: Path, clips: Path, exported: Path, tmp_path: Path
) -> None:
    with Recognizer.open(bundle, tmp_path / "other.db") as recognizer:
        recognizer.enroll("red light", [clips / "red1.mp4", clips / "red3.mp4"])
        done = import_gallery(recognizer.gallery, exported)
        assert (done.added, done.skipped, done.limits) == (4, 1, 2)
        assert [(info.name, info.clips) for info in recognizer.classes()] == [("red light", 3), ("green light", 2)]
        # Red has another clip than when it was calibrated: its limit came along, but does not count.
        assert [info.stale for info in recognizer.classes()] == [True, False]
        again = import_gallery(recognizer.gallery, exported)
        assert (again.added, again.skipped) == (0, 5)


def test_names_of_all_kinds_travel(bundle: Path, gallery: Path, clips: Path, tmp_path: Path) -> None:
    names = [
        'it\'s "quoted"; DROP TABLE clips; --',
        "שלום عليكم",
        "👨‍👩‍👧 می‌خواهم",
        "%s {0} [bold]x[/bold]",
        "../../etc/passwd",
    ]
    with Recognizer.open(bundle, gallery) as recognizer:
        for name, clip in zip(names, ["red1", "red2", "red3", "green1", "blue1"], strict=True):
            recognizer.enroll(name, clips / f"{clip}.mp4", no_text=True, force=True)
        export_gallery(recognizer.gallery, tmp_path / "names.zip")
    with Gallery(tmp_path / "new.db") as new:
        import_gallery(new, tmp_path / "names.zip")
        assert [info.name for info in new.classes()] == names
        for name in names:
            new.rename(name, name + "!")
            assert new.remove(name + "!") == 1


def picture(width: int, height: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, kind)
    return buffer.getvalue()


def with_member(name: str, data: bytes) -> Callable[[Parts], None]:
    return lambda parts: parts.update({name: data})


def with_limit(**values: Any) -> Callable[[Parts], None]:
    return with_facts(lambda facts: facts["limits"][0].update(values))


def nested(depth: int) -> Any:
    """Lists in lists, as deep as JSON can still be read here and not where it is read later."""
    found: Any = 1
    for _ in range(depth):
        found = [found]
    return found


# What is changed, and words of the sentence that says so.
HOSTILE: dict[str, tuple[Callable[[Parts], object], str]] = {
    "a path that leaves": (with_member("../../escaped.txt", b"x"), "other members"),
    "an absolute path": (with_member("/tmp/maclip-escaped.txt", b"x"), "other members"),
    "a member too many": (with_member("clips/5.jpg", b"x"), "other members"),
    "a member too few": (lambda parts: parts.pop("clips/1.jpg"), "other members"),
    "no description": (lambda parts: parts.pop("gallery.json"), "is missing"),
    "a long description": (lambda parts: parts.update({"gallery.json": parts["gallery.json"] + b" " * 2**21}), "large"),
    "no JSON": (with_member("gallery.json", b"{"), "is not JSON"),
    "JSON too deep": (with_member("gallery.json", b"[" * 100_000), "is not JSON"),
    "another version": (with_facts(lambda facts: facts.update(version=2)), "version 2"),
    "an unknown key": (with_facts(lambda facts: facts.update(extra=1)), "other keys"),
    "no contract": (with_facts(lambda facts: facts.update(contract=None)), "names no contract"),
    "clips that are no list": (with_facts(lambda facts: facts.update(clips={"a": 1})), "not a list"),
    "a clip that is no object": (with_facts(lambda facts: facts["clips"].__setitem__(1, 7)), "other keys"),
    "a name of two lines": (with_clip(**{"class": "a\nb\x1b[2J"}), "odd class"),
    "a name that turns the line": (with_clip(**{"class": "a\u202eb"}), "odd class"),
    "the name of an answer": (with_clip(**{"class": "unknown"}), "cannot name a class"),
    "what looks like an answer": (with_clip(**{"class": "unknown\u200d"}), "cannot name a class"),
    "a name of nothing": (with_clip(**{"class": ""}), "cannot name a class"),
    "a name that is a number": (with_clip(**{"class": 7}), "odd class"),
    "a text that is too long": (with_clip(text_name="x" * 1001), "odd text_name"),
    "a source that is too long": (with_clip(source="x" * 10_000), "odd source"),
    "an endless duration": (with_clip(duration_s=float("inf")), "odd duration_s"),
    "a duration that is no number": (with_clip(duration_s=float("nan")), "odd duration_s"),
    "a duration of true": (with_clip(duration_s=True), "odd duration_s"),
    "no duration": (with_clip(duration_s=0), "odd duration_s"),
    "a duration of years": (with_clip(duration_s=1e9), "odd duration_s"),
    "huge sizes": (with_clip(frames=2**40, width=2**40), "odd sizes"),
    "sizes of another clip": (with_clip(frames=2), "other arrays"),
    "quality of words": (with_clip(quality={"motion": "much"}), "odd quality"),
    "huge quality": (with_clip(quality={"motion": 1e200}), "odd quality"),
    "a figure without a float": (with_clip(quality={"motion": 10**400}), "odd quality"),
    "nested quality": (with_clip(quality={"motion": [1]}), "odd quality"),
    "nested reasons": (with_clip(forced=[["still"]]), "odd reasons"),
    "NaN features": (with_member("clips/1.safetensors", arrays(float("nan"))), "other arrays"),
    "huge features": (
        with_member("clips/1.safetensors", arrays(1e38)),
        "other arrays than float32 of 4 x 12 up to 10000",
    ),
    "features of another shape": (with_member("clips/1.safetensors", arrays(0.5, (4, 13))), "other arrays"),
    "features of another type": (with_member("clips/1.safetensors", arrays(dtype="<f8")), "other arrays"),
    "a text of another width": (with_member("clips/1.safetensors", arrays(text=13)), "other arrays"),
    "a text that is missing": (with_member("clips/1.safetensors", arrays(text=0)), "text without its name"),
    "features that are none": (with_member("clips/1.safetensors", b"\xff" * 500), "cannot be read"),
    "a picture that is none": (with_member("clips/1.jpg", b"<script>"), "not a small JPEG"),
    "a picture that begins like one": (with_member("clips/1.jpg", b"\xff\xd8\xff" + bytes(99)), "not a small JPEG"),
    "a picture that is cut off": (with_member("clips/1.jpg", picture(512, 64)[:-40]), "not a small JPEG"),
    "a picture of another kind": (with_member("clips/1.jpg", picture(64, 64, "PNG")), "not a small JPEG"),
    "a picture of many pixels": (with_member("clips/1.jpg", picture(3000, 3000)), "not a small JPEG"),
    "a limit of NaN": (with_limit(value=float("nan")), "odd values"),
    "a limit that says too much": (with_limit(facts={"a": "x" * 20_000}), "odd figures"),
    "a limit of many figures": (with_limit(facts={str(n): n for n in range(100)}), "odd figures"),
    "nested figures": (with_limit(facts={"a": nested(500)}), "odd figures"),
    "figures in an object": (with_limit(facts={"a": {"b": 1}}), "odd figures"),
    "endless figures": (with_limit(facts={"hours": float("inf")}), "odd figures"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_an_export_never_writes_is_refused_whole(exported: Path, tmp_path: Path, what: str) -> None:
    change, words = HOSTILE[what]
    parts = read_parts(exported)
    change(parts)
    hostile = write_parts(tmp_path / "hostile.zip", parts)
    here = sorted(tmp_path.rglob("*"))
    with Gallery(tmp_path / "new.db") as gallery, pytest.raises(MaclipError, match=re.escape(words)) as caught:
        import_gallery(gallery, hostile)
    assert caught.value.code == ("name-invalid" if words == "cannot name a class" else "import-corrupt")
    assert sorted(tmp_path.rglob("*")) == here
    assert not (tmp_path.parent / "escaped.txt").exists()
    assert not Path("/tmp/maclip-escaped.txt").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this system's folders")
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with Gallery(tmp_path / "new.db") as gallery:
        for place in (tmp_path / "pipe", tmp_path, Path("/dev/null"), tmp_path / "absent"):
            with pytest.raises(MaclipError) as caught:
                import_gallery(gallery, place)
            assert caught.value.code == "import-corrupt"


def test_an_import_says_which_classes_it_changes_and_can_leave_them(
    bundle: Path, clips: Path, exported: Path, tmp_path: Path
) -> None:
    def fresh(name: str) -> Recognizer:
        recognizer = Recognizer.open(bundle, tmp_path / name)
        recognizer.enroll("red light", clips / "red3.mp4")
        return recognizer

    with fresh("joined.db") as recognizer:
        done = import_gallery(recognizer.gallery, exported)
        assert (done.added, done.joined, done.left) == (5, ("red light",), ())
        assert len(recognizer.gallery.negatives()) == 1
    with fresh("new.db") as recognizer:
        before = recognizer.gallery.clips("red light")
        done = import_gallery(recognizer.gallery, exported, new_only=True)
        assert (done.added, done.classes, done.joined, done.limits) == (2, ("green light",), (), 1)
        assert done.left == ("red light", "negatives")
        assert [clip.digest for clip in recognizer.gallery.clips("red light")] == [clip.digest for clip in before]
        assert not recognizer.gallery.negatives()
        assert [info.limit is None for info in recognizer.classes()] == [True, False]
        again = import_gallery(recognizer.gallery, exported, new_only=True)
        assert (again.added, again.left) == (0, ("red light", "green light", "negatives"))
    with Gallery(tmp_path / "empty.db") as gallery:  # nothing is there that could change
        assert import_gallery(gallery, exported, new_only=True).added == 5


@pytest.mark.skipif(os.name == "nt", reason="users and modes are those of Unix")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_an_export_is_readable_as_umask_says(enrolled: Path, tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        with Gallery(enrolled) as gallery:
            export_gallery(gallery, tmp_path / "out.zip")
    finally:
        os.umask(before)
    assert (tmp_path / "out.zip").stat().st_mode & 0o777 == mode
    assert not list(tmp_path.glob(".maclip-*"))


def test_bombs_truncations_and_other_contracts(enrolled: Path, exported: Path, tmp_path: Path) -> None:
    parts = read_parts(exported)
    data = exported.read_bytes()
    whole = json.loads(parts["gallery.json"])
    other = {**parts, "gallery.json": json.dumps({**whole, "contract": "another"}).encode()}
    shape = {
        name: arrays(0.5, (2, 12), text=0) if name.endswith("safetensors") else part for name, part in parts.items()
    }
    for clip in whole["clips"]:
        clip.update(frames=2, text_name=None)
    shape["gallery.json"] = json.dumps(whole).encode()
    files = {
        "bomb": write_parts(
            tmp_path / "bomb.zip", {**parts, "clips/0.jpg": b"\xff\xd8\xff" + bytes(10**7)}, zipfile.ZIP_DEFLATED
        ),
        "contract": write_parts(tmp_path / "contract.zip", other),
        "shape": write_parts(tmp_path / "shape.zip", shape),
    }
    for cut in range(0, len(data), len(data) // 9):
        files[f"cut {cut}"] = tmp_path / f"cut{cut}.zip"
        files[f"cut {cut}"].write_bytes(data[:cut])
    # The directory says a member is longer than the file.
    place = data.index(b"PK\x01\x02")
    files["overlong"] = tmp_path / "overlong.zip"
    files["overlong"].write_bytes(data[: place + 20] + b"\xff\xff\xff\x7f" * 2 + data[place + 28 :])
    with Gallery(enrolled) as gallery:
        before = gallery.classes(), gallery.generation
        for what, file in files.items():
            with pytest.raises(MaclipError) as caught:
                import_gallery(gallery, file)
            assert caught.value.code == ("contract-mismatch" if what == "contract" else "import-corrupt"), what
        assert (gallery.classes(), gallery.generation) == before


def test_flipped_bytes_never_come_through(exported: Path, tmp_path: Path) -> None:
    data = exported.read_bytes()
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(150):
        broken = bytearray(data)
        broken[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        (tmp_path / "broken.zip").write_bytes(broken)
        with Gallery(tmp_path / "new.db") as gallery:
            try:
                import_gallery(gallery, tmp_path / "broken.zip")
            except MaclipError as error:
                refused += error.code in {"import-corrupt", "name-invalid"}
                assert not (tmp_path / "new.db").exists()
                continue
            # What a bit may do unseen lies outside the members: times, attributes.
            assert [info.clips for info in gallery.classes()] == [2, 2]
        for file in tmp_path.glob("new.db*"):
            os.unlink(file)
    assert refused > 100


def test_an_export_overwrites_nothing(enrolled: Path, tmp_path: Path) -> None:
    with Gallery(enrolled) as gallery:
        for place, code in ((enrolled, "output-exists"), (tmp_path / "absent" / "x.zip", "output-unwritable")):
            with pytest.raises(MaclipError) as caught:
                export_gallery(gallery, place)
            assert caught.value.code == code
        assert len(gallery.classes()) == 2
    with Gallery(tmp_path / "empty.db") as gallery:
        with pytest.raises(MaclipError) as caught:
            export_gallery(gallery, tmp_path / "x.zip")
        assert caught.value.code == "gallery-empty"
