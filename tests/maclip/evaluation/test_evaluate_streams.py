"""An evaluation on untrimmed video: the device's own code on the model, random galleries, records and their comparison.

The videos show lights of three colours, with noise between: any CLIP tells them apart.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner
from videos import color_frames, write_video

import maclip
from maclip.config import EvaluationConfig, TrainConfig
from maclip.data.segment_reader import read_segments
from maclip.data.untrimmed import open_untrimmed
from maclip.evaluation.streams import api
from maclip.evaluation.streams.api import evaluate_streams
from maclip.evaluation.streams.encoder import encoder_of
from maclip.evaluation.streams.galleries import Cut, plan_galleries
from maclip.evaluation.streams.record import (
    FIGURES,
    StreamRecord,
    compare_streams,
    read_stream_record,
    write_stream_record,
)
from maclip.evaluation.streams.watching import usable_cuts, watch_videos
from maclip.model.maclip import MaClip
from maclip.runs import ADAPTERS_FILE, RUN_FORMAT, Chosen, ClassNames, Run, RunConfig, write_adapters, write_config
from maclip.segments import Segment
from maclip_cli.workstation.app import app
from maclip_runtime.bundle.manifest import Backbone
from maclip_runtime.decisions import Decisions
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery import Gallery
from maclip_runtime.reading.frames import Preprocess
from maclip_runtime.recognizer import Recognizer
from maclip_runtime.streaming import Grid

RATE = 10  # frames a second
FEW = EvaluationConfig.of(way=2, shot=1, galleries=3)


def _rest(seconds: float, rng: np.random.Generator) -> np.ndarray:
    grey = rng.integers(90, 160, size=(round(seconds * RATE), 6, 8, 1)).repeat(8, 1).repeat(8, 2).repeat(3, 3)
    return grey.astype(np.uint8)


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three test videos in which each colour is shown once, and one for training."""
    root, database = tmp_path_factory.mktemp("streams"), {}
    for number in range(4):
        rng = np.random.default_rng(number)
        parts, marked, at = [_rest(1.0, rng)], [], 1.0
        for colour in rng.permutation(["red", "green", "blue"]).tolist():
            length, rest = (float(round(value, 1)) for value in (rng.uniform(1.8, 2.4), rng.uniform(1.0, 1.6)))
            parts += [color_frames(colour, round(length * RATE), number), _rest(rest, rng)]
            marked.append({"segment": [round(at, 1), round(at + length, 1)], "label": f"{colour} light"})
            at += length + rest
        write_video(root / f"v{number}.mp4", np.concatenate(parts), RATE)
        database[f"v{number}"] = {"subset": "testing" if number < 3 else "training", "annotations": marked}
    path = root / "annotations.json"
    path.write_text(json.dumps({"database": database}))
    return path


@pytest.fixture(scope="module")
def model() -> MaClip:
    return maclip.build("tiny", adapters="blocks", adapted_depth=1)


@pytest.fixture(scope="module")
def record(model: MaClip, streams: Path) -> StreamRecord:
    return evaluate_streams(model, streams, FEW)


@pytest.mark.parametrize("depth", [1, 3])
def test_the_encoder_computes_what_the_model_does(make_model: Callable[..., MaClip], depth: int) -> None:
    model = make_model(adapted_depth=depth)
    encoder = encoder_of(model, ["a", "b"])
    assert encoder.has_stem == (depth == 1)
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 32, 32, 3), dtype=np.uint8)
    text = model.encode_names(["a", "b"])
    with torch.no_grad():
        wanted = model.features(torch.from_numpy(frames), text)
        prototypes = model.prototypes(wanted, text)
        query = model.features(torch.from_numpy(frames))
        distances, probabilities = model.match(query, prototypes, text)
    features = encoder.features(frames, text.numpy())
    np.testing.assert_allclose(features, wanted.numpy(), atol=1e-5)
    np.testing.assert_allclose(encoder.prototypes(features, text.numpy()), prototypes.numpy(), atol=1e-5)
    np.testing.assert_array_equal(encoder.text_feature("B"), text[1].numpy())
    found = encoder.match(encoder.features(frames), prototypes.numpy(), text.numpy(), np.ones(2, bool))
    np.testing.assert_allclose(found.distances, distances.numpy(), atol=1e-4)
    np.testing.assert_allclose(found.probabilities, probabilities.numpy(), atol=1e-4)


def test_segments_are_cut_out_exactly(tmp_path: Path) -> None:
    parts = [color_frames(colour, count) for colour, count in (("red", 13), ("green", 9), ("blue", 11))]
    path = write_video(tmp_path / "a.mp4", np.concatenate(parts))
    segments = (Segment("green", 1.3, 2.2), Segment("blue", 2.21, 3.3), Segment("short", 1.3, 1.8))
    found = read_segments(path, segments, 8, Preprocess.for_size(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    assert found.duration_s == pytest.approx(3.3)
    green, blue, short = found.clips
    assert short is None
    assert green is not None
    assert blue is not None
    assert green.shape == (8, 32, 32, 3)
    assert (green.mean((1, 2)).argmax(-1) == 1).all()
    assert (blue.mean((1, 2)).argmax(-1) == 2).all()


def test_colours_are_told_apart(record: StreamRecord) -> None:
    assert record.figures["accuracy"].mean == 1
    assert record.figures["auroc"].mean == 1
    assert record.figures["strangers_passing"].mean == 0
    assert (record.figures["recall"].mean or 0) > 0.8
    assert record.window_s == pytest.approx(0.75 * 2.1, abs=0.15)
    assert record.hop_s == pytest.approx(record.window_s / 4)
    for one in record.galleries:
        assert len(one.names) == 2
        assert one.actions in (2, 4)  # one or two of the three videos gave the clips
        assert 0 < (one.latency_s or 0) < 4


def test_galleries_do_not_depend_on_their_number(model: MaClip, streams: Path, record: StreamRecord) -> None:
    fewer = evaluate_streams(model, streams, FEW.changed(galleries=2))
    assert fewer.galleries == record.galleries[:2]
    assert fewer.galleries_sha256 != record.galleries_sha256


def test_events_are_those_of_the_device(model: MaClip, streams: Path, tmp_path: Path, record: StreamRecord) -> None:
    videos = [video for video in open_untrimmed(streams) if video.split == "test"]
    names = sorted({one.name for video in videos for one in video.segments})
    encoder = encoder_of(model, names)
    grid = Grid.of(8, record.window_s)
    seen, _ = watch_videos(videos, {name: name for name in names}, encoder, grid, 0.0, lambda done, total: None)
    (plan,) = plan_galleries(usable_cuts(seen), len(seen), way=2, shot=1, galleries=1, seed=0)
    with Gallery(tmp_path / "g.db", contract="in memory") as gallery:
        recognizer = Recognizer(encoder.bundle, gallery, encoder, Decisions())
        api._enroll(recognizer, plan, seen, "own")
        paths = [str(seen[number].path) for number in plan.watched]
        events = list(recognizer.watch(paths, window_s=record.window_s))
    reported = [one for one in events if one.kind == "start" and not one.reason]
    first = record.galleries[0]
    assert plan.names == first.names
    assert len(reported) == first.found + first.repeated + first.false_alarms > 0


def test_trimmed_clips_can_be_enrolled(model: MaClip, streams: Path, tmp_path: Path) -> None:
    for colour in ("red", "green"):
        for number in range(2):
            (tmp_path / f"{colour} light").mkdir(exist_ok=True)
            write_video(tmp_path / f"{colour} light" / f"{number}.mp4", color_frames(colour, 20, number))
    found = evaluate_streams(model, streams, FEW.changed(galleries=1, shot=2), clips=tmp_path)
    assert found.data == str(tmp_path)
    (only,) = found.galleries
    assert (only.names, only.actions) == (("green light", "red light"), 6)  # all three videos are watched
    assert found.figures["accuracy"].mean == 1
    with pytest.raises(MaclipError, match="have 3 clips") as error:
        evaluate_streams(model, streams, FEW.changed(shot=3), clips=tmp_path)
    assert error.value.code == "too-few-clips"
    shutil.rmtree(tmp_path / "red light")
    (tmp_path / "green light").rename(tmp_path / "other")
    with pytest.raises(MaclipError, match="is an action of the videos") as error:
        evaluate_streams(model, streams, FEW, clips=tmp_path)
    assert error.value.code == "data-empty"


def test_no_clip_of_a_gallery_comes_from_a_video_that_it_watches() -> None:
    cuts = {name: [Cut(video, place) for video in range(6)] for place, name in enumerate("abcd")}
    for plan in plan_galleries(cuts, 6, way=3, shot=2, galleries=20, seed=0):
        source = {one.video for support in plan.support for one in support if isinstance(one, Cut)}
        assert len(source) == 2
        assert not source & set(plan.watched)
        assert sorted(source | set(plan.watched)) == list(range(6))
        assert [len(set(support)) for support in plan.support] == [2, 2, 2]


@pytest.mark.parametrize(
    ("choices", "options", "code", "message"),
    [
        ({"way": 4}, {}, "too-few-clips", "3 actions happen in the videos"),
        ({"shot": 4}, {}, "too-few-clips", "4 segments each"),
        ({}, {"split": "val"}, "data-empty", "no video of split 'val'"),
        ({"window": 60}, {}, "clip-too-short", "less than a window of 60.0 s"),
        ({"average": "features"}, {}, "option-invalid", "averages"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    model: MaClip, streams: Path, choices: dict[str, Any], options: dict[str, Any], code: str, message: str
) -> None:
    with pytest.raises(MaclipError, match=message) as error:
        evaluate_streams(model, streams, FEW.changed(**choices), **options)
    assert error.value.code == code


def test_broken_videos_are_skipped_up_to_a_share(model: MaClip, streams: Path, tmp_path: Path) -> None:
    shutil.copytree(streams.parent, tmp_path / "s")
    (tmp_path / "s" / "v1.mp4").write_bytes(b"no video")
    few = FEW.changed(galleries=1)
    with pytest.raises(MaclipError) as error:
        evaluate_streams(model, tmp_path / "s" / "annotations.json", few)
    assert error.value.code == "clip-unreadable"
    notes: list[str] = []
    found = evaluate_streams(model, tmp_path / "s" / "annotations.json", few, max_broken=0.4, note=notes.append)
    assert found.left_out == tuple(notes)
    assert "v1.mp4" in notes[0]


def test_actions_that_overlap_are_watched_but_not_asked_for(model: MaClip, streams: Path) -> None:
    videos = [video for video in open_untrimmed(streams) if video.split == "test"]
    crowded = [
        dataclasses.replace(v, segments=(*v.segments, Segment("any light", 0.5, (v.segments[-1].end_s))))
        for v in videos
    ]
    found = evaluate_streams(model, crowded, FEW)
    assert found.figures["accuracy"].galleries == 0
    assert all(one.actions > 0 for one in found.galleries)
    assert found.streams == ""


def test_a_model_that_answers_nan_is_refused(streams: Path) -> None:
    model = maclip.build("tiny", adapters="blocks", adapted_depth=1)
    with torch.no_grad():
        next(p for key, p in model.named_parameters() if key.startswith("prototype")).fill_(float("nan"))
    with pytest.raises(MaclipError, match="finite"):
        evaluate_streams(model, streams, FEW)


def test_a_record_is_read_back_as_it_was_written(record: StreamRecord, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_stream_record(path, record)
    assert read_stream_record(path) == record
    facts = json.loads(path.read_text())
    for broken in (
        {**facts, "format": 99},
        {**facts, "kind": "episodes"},
        {**facts, "figures": {**facts["figures"], "f1": {"mean": 0.9, "interval": None, "galleries": 3}}},
        {key: value for key, value in facts.items() if key != "model"},
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(MaclipError) as error:
            read_stream_record(path)
        assert error.value.code == "record-invalid"


def test_records_are_compared_gallery_by_gallery(record: StreamRecord) -> None:
    better = tuple(
        dataclasses.replace(one, f1=one.f1 + 0.1, false_alarms_an_hour=one.false_alarms_an_hour + 7, latency_s=None)
        for one in record.galleries
    )
    found = {one.figure: one for one in compare_streams(record, dataclasses.replace(record, galleries=better))}
    assert list(found) == list(FIGURES)
    assert found["f1"].difference == pytest.approx(0.1)
    assert (found["f1"].verdict, found["false_alarms_an_hour"].verdict) == ("better", "worse")
    assert (found["recall"].verdict, found["recall"].galleries) == ("neither", 3)
    assert (found["latency_s"].difference, found["latency_s"].galleries) == (None, 0)
    with pytest.raises(MaclipError) as error:
        compare_streams(record, dataclasses.replace(record, galleries_sha256="0"))
    assert error.value.code == "galleries-differ"


def test_from_a_run_to_a_comparison(model: MaClip, streams: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    backbone = Backbone(model.backbone.name, model.backbone.pretrained, model.backbone.sha256)
    names = ClassNames(train=("Red Light", "waving"))
    write_config(
        run,
        RunConfig(
            RUN_FORMAT, "0", backbone, model.config, TrainConfig(), "nowhere", names,
            chosen=None, data_sha256="0" * 64, lists=None, init=None,
        ),
    )  # fmt: skip
    write_adapters(run / ADAPTERS_FILE, model)

    def command(*arguments: object) -> tuple[str, BaseException | None]:
        done = CliRunner().invoke(app, [*map(str, arguments)])
        return done.stdout, done.exception

    few = ("eval", run, "--streams", streams, "--way", 2, "--galleries", 2)
    output, error = command(*few, "--json", tmp_path / "a.json")
    assert error is None, output
    assert "2-way 1-shot galleries (2) on the test videos" in output
    assert "1 of its actions were also in training" in output
    assert "AUROC of strangers" in output
    assert read_stream_record(tmp_path / "a.json").seen_in_training == ("red light",)
    assert read_stream_record(tmp_path / "a.json").names == "own"
    opened = Run.open(run)
    chosen = Chosen(names=False, fusion_weight=0.0, limit=None, accuracy=0.5, measured_on="validation classes")
    unnamed = Run(run, dataclasses.replace(opened.config, chosen=chosen))
    assert evaluate_streams(unnamed, streams, FEW).names == "none"
    write_stream_record(tmp_path / "b.json", read_stream_record(tmp_path / "a.json"))
    output, error = command("compare", tmp_path / "a.json", tmp_path / "b.json")
    assert error is None, output
    assert "neither" in output
    output, error = command("compare", tmp_path / "a.json", tmp_path / "b.json", "--json")
    assert [one["figure"] for one in json.loads(output)] == list(FIGURES)
    (tmp_path / "c.json").write_text("{}")
    for arguments, code in (
        (("compare", tmp_path / "a.json", tmp_path / "c.json"), "record-invalid"),
        (("eval", run), "option-invalid"),
        ((*few, "--confusion", "c"), "option-invalid"),
        ((*few, "--frame-cache", "c"), "option-invalid"),
        ((*few, "--decoder", "decord"), "option-invalid"),
        ((*few, "--lists", "c"), "option-invalid"),
        (("eval", run, tmp_path, "--videos", "c"), "option-invalid"),
        ((*few, "--galleries", 0), "option-invalid"),
    ):
        _, error = command(*arguments)
        assert isinstance(error, MaclipError), arguments
        assert error.code == code
