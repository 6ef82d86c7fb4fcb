"""What an enrolment runs and reads: the stem once for each clip, one index for all, few questions to the gallery."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import seal, write_bundle

from maclip_runtime import Bundle, Gallery, Recognizer
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.matching import index as indexing
from maclip_runtime.matching.clips import read_take, sampled


@pytest.fixture(params=[False, True], ids=["visual", "stem and tower"])
def any_bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", split=request.param)


def rows_of_runs(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    seen: list[tuple[str, int]] = []
    run = encoder.engine.run

    def counted(graph: str, **inputs: Any) -> Any:
        seen.append((graph, len(next(iter(inputs.values())))))
        return run(graph, **inputs)

    monkeypatch.setattr(encoder.engine, "run", counted)
    return seen


def test_stem_runs_once_for_a_clip_with_text(
    any_bundle: Path, gallery: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Recognizer.open(any_bundle, gallery, device="cpu") as recognizer:
        runs = rows_of_runs(recognizer.encoder, monkeypatch)
        recognizer.enroll("red light", [clips / "red1.mp4", clips / "red2.mp4"])
        network = [run for run in runs if run[0] in ("visual", "stem", "tower")]
        assert network == ([("stem", 4), ("tower", 2)] if recognizer.encoder.has_stem else [("visual", 2)]) * 2


def test_names_are_texts_only_where_the_bundle_uses_them(any_bundle: Path, gallery: Path, clips: Path) -> None:
    manifest = Bundle.open(any_bundle).manifest
    seal(any_bundle, dataclasses.replace(manifest, names=dataclasses.replace(manifest.names, used=False)))
    with Recognizer.open(any_bundle, gallery, device="cpu") as recognizer:
        done = recognizer.enroll("red light", clips / "red1.mp4")
        assert done.text_name is None
        assert not any("text" in note for note in done.notes)  # nobody asked for one
        assert recognizer.enroll("red light", clips / "red2.mp4").text_name is None
        assert recognizer.enroll("green light", clips / "green1.mp4", text="green light").text_name == "green light"


def test_both_features_are_those_of_separate_runs(any_bundle: Path, gallery: Path, clips: Path) -> None:
    with Recognizer.open(any_bundle, gallery, device="cpu") as recognizer:
        recognizer.enroll("red light", clips / "red1.mp4")
        recognizer.enroll("green light", clips / "green1.mp4", no_text=True)
        for clip, path in zip(recognizer.gallery.clips(), ("red1.mp4", "green1.mp4"), strict=True):
            manifest, encoder = recognizer.bundle.manifest, recognizer.encoder
            frames = sampled(read_take(clips / path, manifest), manifest)[None]
            text = None if clip.text is None else clip.text[None]
            np.testing.assert_allclose(clip.query, encoder.features(frames)[0], atol=1e-6)
            np.testing.assert_allclose(clip.features, encoder.features(frames, text)[0], atol=1e-6)
            assert (clip.text is None) == np.array_equal(clip.query, clip.features)


def test_enrolling_and_recognising_share_one_index(
    bundle: Path, enrolled: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []
    build = indexing.build_index

    def counted(*args: Any) -> Any:
        made = build(*args)
        built.append(0 if made is None else made.generation)
        return made

    monkeypatch.setattr(indexing, "build_index", counted)
    with Recognizer.open(bundle, enrolled) as recognizer:
        recognizer.classify(clips / "red3.mp4")
        recognizer.enroll("blue light", clips / "blue1.mp4", force=True)
        recognizer.calibrate()
        recognizer.classify(clips / "red3.mp4")
        with recognizer.stream() as stream:
            stream.end()
    assert len(built) == len(set(built)) == 3  # as opened, after the enrolment, after the calibration


def test_enrolment_asks_the_gallery_little(
    bundle: Path, enrolled: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        recognizer.index.ready()
        asked: Counter[str] = Counter()
        rows, stamp = Gallery._rows, Gallery._stamp

        def counted_rows(self: Gallery, query: str, *values: Any) -> list[Any]:
            asked["queries"] += 1
            return rows(self, query, *values)

        def counted_stamp(self: Gallery, otherwise: Any) -> Any:
            asked["stats"] += 1
            return stamp(self, otherwise)

        monkeypatch.setattr(Gallery, "_rows", counted_rows)
        monkeypatch.setattr(Gallery, "_stamp", counted_stamp)
        recognizer.enroll("red light", clips / "red3.mp4")
    assert asked["queries"] <= 10
    assert asked["stats"] <= 14


def test_no_clip_at_all_is_refused(bundle: Path, gallery: Path) -> None:
    with Recognizer.open(bundle, gallery) as recognizer:
        with pytest.raises(MaclipError) as caught:
            recognizer.enroll("red light", [])
        assert caught.value.code == "clip-missing"
        assert not recognizer.classes()
