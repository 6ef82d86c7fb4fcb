"""Stem tokens on disk give the numbers of those in memory, serve later runs, and are never trusted blindly."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_data import CPU, small_training, train, write_classes

from maclip.data import clip_store as store_module
from maclip.data import disk_cache as clip_cache
from maclip.data import stem_cache as stem
from maclip.data.clip_reader import ClipReader
from maclip.data.clip_store import ClipStore
from maclip.data.dataset import ActionClass, open_folders
from maclip.data.disk_cache import ClipCache
from maclip.data.stem_cache import stem_cache_place
from maclip.evaluation.features import clip_features
from maclip.model.maclip import MaClip
from maclip.training import trainer as training
from maclip_runtime.errors import MaclipError

IDS = np.array([4, 0, 7])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("coloured") / "data", 3)


@dataclass(frozen=True)
class Clips:
    """A store of clips, and the model whose stem it caches."""

    model: MaClip
    store: ClipStore

    def cache(self, **how: Any) -> Clips:
        self.store.cache_stem(self.model.frozen_stem(), **how)
        return self

    def load(self, ids: np.ndarray, rng: np.random.Generator | None = None) -> torch.Tensor:
        return self.store.load(ids, rng)


@pytest.fixture
def make_clips(data: Path, make_model: Callable[..., MaClip]) -> Callable[..., Clips]:
    def make(stem_views: int = 0, classes: Sequence[ActionClass] = (), views: bool = True, **choices: object) -> Clips:
        model = make_model(**{"adapted_depth": 1, "frames": 4, **choices})
        reader = ClipReader(model.backbone.preprocess, model.config.frames)
        found = classes or open_folders(data).classes
        return Clips(model, ClipStore(found, reader, views=views, stem_views=stem_views))

    return make


@pytest.fixture
def stems(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for each clip whose stem is computed."""
    counted: list[int] = []
    compute = MaClip.frozen

    def counting(self: MaClip, frames: torch.Tensor) -> torch.Tensor:
        counted.append(len(frames))
        return compute(self, frames)

    monkeypatch.setattr(MaClip, "frozen", counting)
    return counted


def loaded(clips: Clips) -> list[torch.Tensor]:
    views = [clips.load(IDS, np.random.default_rng(seed)) for seed in range(4)]
    features = clip_features(clips.model, clips.store, None, rng=np.random.default_rng(9))
    return [clips.load(IDS), *views, *features]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("stem_views", [0, 3])
def test_disk_and_memory_hold_the_same(tmp_path, make_clips, stem_views):
    memory = make_clips(stem_views).cache()
    disk = make_clips(stem_views).cache(disk=ClipCache(tmp_path))
    same(loaded(memory), loaded(disk))
    assert disk.load(IDS).dtype == torch.float16


def test_cached_views_are_random_crops_and_the_centre_is_there_too(make_clips):
    clips, decoded = make_clips(stem_views=3).cache(), make_clips()
    stem = clips.model.frozen_stem()
    # (1 + 3) T frames in the place of 2T
    assert clips.store.cache_bytes(stem) == 2 * decoded.store.cache_bytes(stem)
    with torch.no_grad():
        centre = clips.model.stem(decoded.load(IDS).flatten(0, 1)).unflatten(0, (len(IDS), 4)).half()
    assert torch.equal(clips.load(IDS), centre)
    seen = [clips.load(IDS[:1], np.random.default_rng(seed))[0] for seed in range(30)]
    different = {tokens.numpy().tobytes() for tokens in seen}
    assert len(different) == 3
    assert centre[0].numpy().tobytes() not in different
    again = make_clips(stem_views=3)
    again.store.classes = again.store.classes[::-1]  # whatever else there is
    again.store.paths = again.store.paths[::-1]
    again.cache()
    assert {again.load(8 - IDS[:1], np.random.default_rng(i))[0].numpy().tobytes() for i in range(30)} == different


def test_cached_views_are_mirrored_only_where_the_class_lets_them(tmp_path, data, make_clips, stems):
    def views(mirror: bool, *lenders: ClipStore) -> ClipStore:
        classes = [replace(c, mirror=mirror) for c in open_folders(data).classes]
        return make_clips(4, classes).cache(reuse=lenders, disk=ClipCache(tmp_path)).store

    def crops(store: ClipStore) -> list[np.ndarray]:
        return [store._to_cache(clip, store.paths[clip])[4:].reshape(4, 4, 32, 32, 3) for clip in range(9)]

    plain, mirrored = views(False), views(True)
    assert len(stems) == 18, "what may be mirrored is not what may not"
    views(False, plain)
    views(True, plain)
    views(False, plain, mirrored)
    assert len(stems) == 18
    # The coin is tossed between crops, so the frames and the first crop are the same: straight, or turned.
    turned = [np.array_equal(a[0], b[0][:, :, ::-1]) for a, b in zip(crops(plain), crops(mirrored), strict=True)]
    straight = [np.array_equal(a[0], b[0]) for a, b in zip(crops(plain), crops(mirrored), strict=True)]
    assert all(one != other for one, other in zip(turned, straight, strict=True))
    assert any(turned)
    assert any(straight)


def test_a_later_run_computes_nothing_again(tmp_path, make_clips, stems):
    first, second = make_clips(), make_clips(adapted_depth=0)  # the last block is never the stem's
    first.cache(disk=ClipCache(tmp_path))
    assert len(stems) == 9
    second.cache(disk=ClipCache(tmp_path))
    assert len(stems) == 9
    same([first.load(IDS)], [second.load(IDS)])


def test_another_stem_or_clip_is_computed(tmp_path, data, make_clips, stems):
    make_clips().cache(disk=ClipCache(tmp_path / "cache"))
    for change in ({"adapted_depth": 2}, {"frames": 3}):
        before = len(stems)
        make_clips(**change).cache(disk=ClipCache(tmp_path / "cache"))
        assert len(stems) == before + 9
    preprocess = make_clips().model.backbone.preprocess
    for other in ({"sha256": "1" * 64}, {"name": "another"}, {"preprocess": replace(preprocess, resize=None)}):
        before = len(stems)
        model = make_clips().model
        model.backbone = replace(model.backbone, **other)
        reader = ClipReader(model.backbone.preprocess, 4)
        Clips(model, ClipStore(open_folders(data).classes, reader)).cache(disk=ClipCache(tmp_path / "cache"))
        assert len(stems) == before + 9, other
    before = len(stems)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "decoder_version", lambda decoder: "another version")
        make_clips().cache(disk=ClipCache(tmp_path / "cache"))
    assert len(stems) == before + 9
    before = len(stems)
    shutil.copytree(data, tmp_path / "data", copy_function=shutil.copy2)
    make_clips(classes=open_folders(tmp_path / "data").classes).cache(disk=ClipCache(tmp_path / "cache"))
    assert len(stems) == before + 9
    make_clips(views=False).cache(disk=ClipCache(tmp_path / "cache"))
    assert len(stems) == before + 18
    for views in (1, 2):  # 1: as many frames as without
        make_clips(views).cache(disk=ClipCache(tmp_path / "cache"))
        assert len(stems) == before + 18 + 9 * views


def test_a_pass_that_was_cut_off_goes_on_where_it_was(tmp_path, make_clips, stems):
    expected = make_clips().cache()
    stems.clear()

    def cut(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_clips().cache(progress=cut, disk=ClipCache(tmp_path))
    torn = sorted(tmp_path.rglob("*.safetensors"))[0]
    os.truncate(torn, torn.stat().st_size - 10)
    again = make_clips().cache(disk=ClipCache(tmp_path))
    assert len(stems) == 4 + 1 + 5
    same(loaded(expected), loaded(again))


def test_a_disk_without_room_is_an_error_before_training(tmp_path, make_clips, monkeypatch):
    monkeypatch.setattr(clip_cache, "MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(MaclipError) as caught:
        make_clips().cache(disk=ClipCache(tmp_path))
    assert caught.value.code == "stem-cache-full"
    assert "--stem-cache" in caught.value.fix


def test_a_cache_that_vanishes_is_said(tmp_path, make_clips):
    clips = make_clips().cache(disk=ClipCache(tmp_path / "cache"))
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(MaclipError) as caught:
        clips.load(IDS)
    assert caught.value.code == "stem-cache-lost"


def test_auto_takes_memory_while_it_fits_and_disk_beyond(tmp_path, monkeypatch):
    folder = tmp_path / "run" / "stem"
    assert stem_cache_place("auto", 10, 10, folder, folder_given=False) == "memory"
    assert stem_cache_place("auto", 11, 10, folder, folder_given=False) == "disk"
    assert stem_cache_place("auto", 10, 10, folder, folder_given=True) == "disk"
    assert stem_cache_place("stem", 11, 10, folder, folder_given=True) == "memory"
    assert [stem_cache_place(mode, 1, 10, folder, False) for mode in ("disk", "none")] == ["disk", "none"]
    monkeypatch.setattr(stem, "MIN_FREE_BYTES", 1 << 60)
    assert stem_cache_place("auto", 11, 10, folder, folder_given=False) == "none"
    folder.mkdir(parents=True)  # an interrupted run's
    assert stem_cache_place("auto", 11, 10, folder, folder_given=False) == "disk"


@pytest.mark.parametrize("views", [0, 2])
def test_training_learns_the_same_from_disk_and_the_next_run_needs_no_stem(tmp_path, data, monkeypatch, stems, views):
    small_training(monkeypatch)
    memory, _ = train(data, tmp_path / "memory", cache="stem", stem_views=views)
    stems.clear()
    disk, _ = train(data, tmp_path / "disk", CPU.changed(stem_cache=tmp_path / "kept"), stem_views=views)
    assert len(stems) == 9
    again, _ = train(data, tmp_path / "again", CPU.changed(stem_cache=tmp_path / "kept"), stem_views=views)
    assert len(stems) == 9
    monkeypatch.setattr(training, "CACHE_LIMIT_BYTES", 1)
    beyond, _ = train(data, tmp_path / "beyond", stem_views=views)
    assert list((tmp_path / "beyond" / "stem").rglob("*.safetensors"))
    for other in (disk, again, beyond):
        assert all(torch.equal(other[key], value) for key, value in memory.items())


@pytest.mark.parametrize(("cache", "said"), [("none", True), ("stem", False)])
def test_views_that_no_cache_holds_are_said(tmp_path, data, monkeypatch, cache, said):
    small_training(monkeypatch)
    _, notes = train(data, tmp_path / "run", cache=cache, stem_views=2, episodes=2, prototype_episodes=0)
    assert any("each view is drawn anew" in note for note in notes) is said
