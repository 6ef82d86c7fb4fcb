"""Windows of untrimmed video in the episodes of a training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_clip import small_backbone
from test_trainer import MODEL, TRAIN, small, train

from maclip.config import ModelConfig
from maclip.config.training import StreamConfig
from maclip.data.clip_store import ClipStore
from maclip.data.dataset import open_folders
from maclip.data.disk_cache import ClipCache
from maclip.data.stream_windows import NONE
from maclip.evaluation.evaluator import Evaluator
from maclip.evaluation.features import store_for
from maclip.model.maclip import MaClip
from maclip.runs import Run
from maclip.training.callbacks import Callbacks
from maclip.training.episode_loader import EpisodeLoader
from maclip.training.streams import absolute_streams, stream_windows
from maclip.world.streams import write_streams
from maclip_runtime.errors import MaclipError

__all__ = ["small"]  # the fixture that gives every test here the small backbone
OPEN = MODEL.changed(open_set_weight=0.5)


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn streams of the classes that `drawn_data` trains on."""
    root = tmp_path_factory.mktemp("streams") / "drawn"
    write_streams(root, "motion", "test", 2, actions=6, seed=5)
    file = root / "annotations.json"
    content = json.loads(file.read_text())
    for entry in content["database"].values():
        entry["subset"] = "training"
    file.write_text(json.dumps(content))
    return file


def cached(data: Path, model: MaClip, stem: bool) -> ClipStore:
    store = store_for(model, open_folders(data).split("train"))
    if stem:
        store.cache_stem(model.frozen_stem())
    return store


@pytest.mark.parametrize("stem", [True, False])
def test_stitched_windows_hold_the_frames_of_their_clips(drawn_data, stem):
    model = MaClip(small_backbone(), MODEL).eval()
    store = cached(drawn_data, model, stem)
    config = StreamConfig(streams="stitch")
    windows = stream_windows(config, store, model.frozen_stem() if stem else None, seed=0, callbacks=Callbacks())
    assert windows is not None
    assert set(windows.labels.tolist()) == {NONE, *range(len(store.classes))}
    some = windows.load(windows.of(2)[:3])
    own = store.load(np.flatnonzero(store.labels == 2))
    assert some.shape == (3, *own.shape[1:])
    assert some.dtype == own.dtype
    # The middle frame of a window of a class comes from one of its clips.
    rows = store.load_rows(np.arange(len(store) * store.row_frames)[None])[0]
    labels = np.repeat(store.labels, store.row_frames)
    for window in some:
        assert 2 in labels[[torch.equal(row, window[4]) for row in rows]]


@pytest.mark.parametrize("stem", [True, False])
def test_windows_of_annotated_video_are_read_by_their_times(drawn_data, streams, stem):
    model = MaClip(small_backbone(), MODEL).eval()
    store = cached(drawn_data, model, stem)
    config = StreamConfig(streams=str(streams))
    windows = stream_windows(config, store, model.frozen_stem() if stem else None, seed=0, callbacks=Callbacks())
    assert windows is not None
    happening = {a["label"] for v in json.loads(streams.read_text())["database"].values() for a in v["annotations"]}
    known = {index for index, one in enumerate(store.classes) if one.name in happening}
    assert set(windows.labels.tolist()) == {NONE, *known}
    assert windows.load(windows.of(NONE)[:2]).shape == (2, *store.load(np.array([0])).shape[1:])


def test_tokens_of_streams_are_cached_on_disk(drawn_data, streams, tmp_path):
    model = MaClip(small_backbone(), MODEL).eval()
    store = cached(drawn_data, model, stem=True)
    stem, encoded = model.frozen_stem(), []

    def encode(frames: torch.Tensor) -> torch.Tensor:
        encoded.append(len(frames))
        return stem.encode(frames)

    found = []
    for _ in range(2):
        windows = stream_windows(
            StreamConfig(streams=str(streams)), store, replace(stem, encode=encode), seed=0, callbacks=Callbacks(),
            disk=ClipCache(tmp_path),
        )  # fmt: skip
        assert windows is not None
        found.append((windows.load(windows.of(NONE)), sum(encoded)))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1] > 0


def test_an_episode_asks_windows_beside_clips(drawn_data, streams):
    model = MaClip(small_backbone(), MODEL).eval()
    store = cached(drawn_data, model, stem=True)
    train_config = TRAIN.changed(streams=str(streams), window_share=1.0, none_windows=5)
    text = model.encode_names(one.name for one in store.classes)
    loader = EpisodeLoader(store, train_config, text, workers=1)
    stem = model.frozen_stem()
    loader.windows = stream_windows(train_config.streams, store, stem, seed=0, callbacks=Callbacks())
    batch = loader.batch("joint", 3)
    labels = batch.query_labels
    assert labels[:4].tolist() == [0, 1, 2, 3]
    assert (labels[4:] == NONE).sum() == 5
    assert batch.clips is not None
    assert len(batch.clips) == 4 + len(labels)
    for label, ids in zip(batch.window_labels, batch.clips[8:], strict=True):
        pool = loader.windows.of(NONE if label == NONE else int(batch.episode.classes[label]))
        assert any(torch.equal(ids, one) for one in loader.windows.load(pool))
    again = loader.batch("joint", 3)
    assert torch.equal(batch.clips, again.clips)
    views = loader.views(model, lambda done, total: None)
    features = loader.batch("prototype", 3, views).features
    assert features is not None
    assert len(features.query) == len(loader.batch("prototype", 3, views).query_labels)


@pytest.mark.parametrize("kind", ["stitch", "annotated"])
def test_a_training_on_streams_learns_the_distance_of_none(drawn_data, streams, tmp_path, kind):
    where = "stitch" if kind == "stitch" else str(streams)
    train(drawn_data, tmp_path / "run", model=OPEN, streams=where, none_windows=3)
    run = Run.open(tmp_path / "run")
    state = load_file(tmp_path / "run" / "adapters.safetensors")
    assert state["none_distance"] != 8.0
    assert run.config.chosen is not None
    assert run.config.chosen.limit is not None
    assert run.config.chosen.limit.learned
    assert "learned in training" in run.config.chosen.limit.measured_on
    assert run.config.train.streams.streams == where


def test_the_state_that_is_kept_is_one_of_the_last_stage(drawn_data, tmp_path, monkeypatch):
    scores = iter([0.9, 0.8, 0.1, 0.2])  # two of the prototype stage, which are better, and two of the joint one
    evaluate = Evaluator.evaluate

    def scripted(self: Evaluator, *args: object, **kwargs: object) -> object:
        result = evaluate(self, *args, **kwargs)  # type: ignore[arg-type]
        score = next(scores, 0.5)
        return replace(result, by_fusion_weight=dict.fromkeys(result.by_fusion_weight, score))

    monkeypatch.setattr(Evaluator, "evaluate", scripted)
    train(drawn_data, tmp_path / "run", validations=2)
    state = load_file(tmp_path / "run" / "adapters.safetensors")
    ups = [value for key, value in state.items() if key.endswith("up.weight")]
    assert ups
    assert all(value.abs().max() > 0 for value in ups)  # zero until the joint stage


@pytest.mark.parametrize("content", [{"database": {}}, "nonsense", None])
def test_bad_annotations_are_said(drawn_data, tmp_path, content):
    file = tmp_path / "annotations.json"
    if content is not None:
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(MaclipError):
        train(drawn_data, tmp_path / "run", model=OPEN, streams=str(file))


def test_streams_of_other_classes_are_too_small(drawn_data, streams, tmp_path):
    content = json.loads(streams.read_text())
    for entry in content["database"].values():
        for one in entry["annotations"]:
            one["label"] = "something else"
    file = streams.parent / "others.json"
    file.write_text(json.dumps(content))
    with pytest.raises(MaclipError) as refused:
        train(drawn_data, tmp_path / "run", model=OPEN, streams=str(file))
    assert refused.value.code == "streams-too-small"


def test_a_segment_that_leaves_its_file_is_said(drawn_data, streams, tmp_path):
    content = json.loads(streams.read_text())
    entry = next(iter(content["database"].values()))
    entry["annotations"][0]["segment"] = [1.0, 1000.0]
    entry.pop("duration")
    file = streams.parent / "longer.json"
    file.write_text(json.dumps(content))
    with pytest.raises(MaclipError, match="from 1 to 1000 s") as refused:
        train(drawn_data, tmp_path / "run", model=OPEN, streams=str(file))
    assert refused.value.code == "annotations-invalid"


def test_without_a_cache_windows_are_read_as_pixels(drawn_data, streams, tmp_path):
    train(
        drawn_data, tmp_path / "run", model=ModelConfig.of(adapters="blocks", open_set_weight=0.5),
        streams=str(streams), cache="none", prototype_episodes=0, episodes=2, validations=1, none_windows=2,
    )  # fmt: skip
    assert (tmp_path / "run" / "adapters.safetensors").is_file()


def test_paths_of_streams_are_kept_absolute():
    found = absolute_streams(TRAIN.changed(streams="a.json", stream_videos="b")).streams
    assert (found.streams, found.stream_videos) == (str(Path("a.json").resolve()), str(Path("b").resolve()))
    assert absolute_streams(TRAIN.changed(streams="stitch")) == TRAIN.changed(streams="stitch")


def test_shots_are_drawn_for_each_episode(drawn_data):
    model = MaClip(small_backbone(), MODEL).eval()
    store = cached(drawn_data, model, stem=True)
    text = model.encode_names(one.name for one in store.classes)
    loader = EpisodeLoader(store, TRAIN.changed(shot=1, max_shot=2), text, workers=1)
    shots = [len(loader.batch("joint", at).support_labels) // 4 for at in range(30)]
    assert set(shots) == {1, 2}
    assert shots == [len(loader.batch("joint", at).support_labels) // 4 for at in range(30)]
    with pytest.raises(MaclipError) as refused:
        TRAIN.changed(shot=3, max_shot=2)
    assert refused.value.code == "option-invalid"
