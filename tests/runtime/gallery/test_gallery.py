"""The gallery's file: what is kept, who may read it, and that it is never half written."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import write_bundle

from maclip_runtime import Gallery, Recognizer
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.matching.index import build_index


def test_clips_are_kept_as_they_were(enrolled: Path, clips: Path) -> None:
    with Gallery(enrolled) as gallery:
        assert [(info.name, info.clips) for info in gallery.classes()] == [("red light", 2), ("green light", 2)]
        clip = gallery.clips("red light")[0]
        assert clip.features.shape == clip.query.shape == (4, 12)
        assert not np.allclose(clip.features, clip.query)  # the support branch has seen the text
        assert clip.source == str(clips / "red1.mp4")
        assert clip.duration_s == pytest.approx(1.0)
        assert clip.thumbnail.startswith(b"\xff\xd8")
        assert set(clip.quality) == {"brightness", "blur", "motion"}


def test_reading_makes_no_file(bundle: Path, gallery: Path) -> None:
    with Recognizer.open(bundle, gallery) as recognizer:
        assert recognizer.classes() == []
        with pytest.raises(MaclipError) as caught:
            recognizer.classify("any.mp4")
    assert caught.value.code == "gallery-empty"
    assert not gallery.exists()


def test_another_models_gallery_is_refused_untouched(enrolled: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other", contract="another")
    before = enrolled.read_bytes()
    with pytest.raises(MaclipError) as caught:
        Recognizer.open(other, enrolled)
    assert (caught.value.code, caught.value.exit_code) == ("contract-mismatch", 2)
    assert enrolled.read_bytes() == before


def test_two_models_cannot_start_one_gallery(bundle: Path, clips: Path, gallery: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other", contract="another")
    with Recognizer.open(bundle, gallery) as first, Recognizer.open(other, gallery) as second:
        first.enroll("red light", clips / "red1.mp4")
        with pytest.raises(MaclipError) as caught:
            second.enroll("green light", clips / "green1.mp4")
        assert caught.value.code == "contract-mismatch"
        assert len(first.classes()) == 1


def test_files_that_are_no_gallery(bundle: Path, gallery: Path) -> None:
    gallery.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(MaclipError) as caught:
        Recognizer.open(bundle, gallery)
    assert caught.value.code == "gallery-corrupt"
    gallery.unlink()
    with sqlite3.connect(gallery) as connection:
        connection.execute("CREATE TABLE music (song)")
    connection.close()
    with pytest.raises(MaclipError) as caught:
        Recognizer.open(bundle, gallery)
    assert caught.value.code == "gallery-corrupt"


@pytest.mark.parametrize("version", [1, 2, 9])
def test_another_schema_is_refused_untouched(bundle: Path, enrolled: Path, version: int) -> None:
    with sqlite3.connect(enrolled) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = enrolled.read_bytes()
    for opens in (Gallery, lambda path: Recognizer.open(bundle, path)):
        with pytest.raises(MaclipError, match=f"has schema {version}; this version of maclip reads schema 3") as caught:
            opens(enrolled)
        assert (caught.value.code, caught.value.exit_code) == ("gallery-schema", 2)
    assert enrolled.read_bytes() == before


@pytest.mark.parametrize("place", ["absent/gallery.db", "file/gallery.db", "folder"])
def test_unwritable_places(bundle: Path, clips: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(MaclipError) as caught,
        Recognizer.open(bundle, tmp_path / place) as recognizer,
    ):
        recognizer.enroll("red light", clips / "red1.mp4")
    assert (caught.value.code, caught.value.exit_code) == ("output-unwritable", 2)
    assert (tmp_path / "file").read_text() == "in the way"


def test_same_clip_twice_needs_force(bundle: Path, enrolled: Path, clips: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        with pytest.raises(MaclipError) as caught:
            recognizer.enroll("red light", [clips / "red3.mp4", clips / "red1.mp4"])
        assert caught.value.code == "clip-rejected"
        assert recognizer.classes()[0].clips == 2  # red3 was not kept either
        assert recognizer.enroll("red light", clips / "red1.mp4", force=True).clips == 3


def test_remove_and_rename(bundle: Path, enrolled: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        first = recognizer.gallery.clips("red light")[0]
        assert recognizer.remove("red light", clip_id=first.id) == 1
        assert recognizer.classes()[0].clips == 1
        recognizer.rename("red light", "stop")
        first_class = recognizer.classes()[0]
        assert (first_class.name, first_class.text_name) == ("stop", "red light")
        assert recognizer.remove("stop") == 1
        for act, code in [
            (lambda: recognizer.remove("stop"), "class-unknown"),
            (lambda: recognizer.remove("green light", clip_id=999), "clip-unknown"),
            (lambda: recognizer.rename("green light", "green light"), "class-exists"),
            (lambda: recognizer.rename("green light", "Unknown"), "name-invalid"),
        ]:
            with pytest.raises(MaclipError) as caught:
                act()
            assert caught.value.code == code
        assert [(info.name, info.clips) for info in recognizer.classes()] == [("green light", 2)]


def test_prototypes_are_made_again_for_another_graph(bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    other = Encoder(Bundle.open(write_bundle(tmp_path / "b", prototype_factor=3.0)), "cpu")
    with Gallery(enrolled) as gallery:
        first = build_index(gallery, Encoder(Bundle.open(bundle), "cpu"))
        second = build_index(gallery, other)
        assert first is not None
        assert second is not None
        np.testing.assert_allclose(second.prototypes, 3 * first.prototypes, rtol=1e-5)
        assert len(gallery.prototypes(other.bundle.graph_digest("prototype"))) == 4


def test_class_prototype_is_the_mean_over_its_clips(bundle: Path, enrolled: Path) -> None:
    with Gallery(enrolled) as gallery:
        index = build_index(gallery, Encoder(Bundle.open(bundle), "cpu"))
        assert index is not None
        mean = np.mean([clip.features for clip in gallery.clips("red light")], axis=0)
        np.testing.assert_allclose(index.prototypes[0], mean, atol=1e-6)
        assert index.has_text.tolist() == [True, True]


def test_a_clip_is_not_measured_against_itself(bundle: Path, enrolled: Path, clips: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        recognizer.remove("green light")
        one, two = recognizer.gallery.clips("red light")
        no_text = np.zeros((1, 12), np.float32), np.array([False])
        apart = [
            recognizer.encoder.match(query[None], other[None], *no_text).distances.item()
            for query, other in [(one.query, two.features), (two.query, one.features)]
        ]
        assert recognizer.classify(clips / "red3.mp4").limit == pytest.approx(max(apart), rel=1e-3)


def test_limit_is_measured_again_after_a_change(bundle: Path, enrolled: Path, clips: Path) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        before = recognizer.classify(clips / "red3.mp4").limit
        assert before is not None
        assert 0.1 < before < 1.2  # between a class's own clips (near 0) and the other's (4/3)
        recognizer.remove("green light")
        after = recognizer.classify(clips / "red3.mp4").limit
        assert after is not None
        assert after < 0.1
