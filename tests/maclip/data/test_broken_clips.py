"""Clips that cannot be read: skipped, stood in for, named at the end, and fatal beyond a share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_data import COLOURS, CPU, Listener, adapters, moving, small_training, train, write_classes
from typer.testing import CliRunner
from videos import write_sound, write_video

from maclip.data.broken_clips import BrokenClips
from maclip.data.check import check_clips
from maclip.data.clip_reader import ClipReader
from maclip.data.clip_store import ClipStore
from maclip.data.dataset import ActionClass, open_folders
from maclip.evaluation.evaluator import Evaluator
from maclip.evaluation.features import clip_features, store_for
from maclip.evaluation.record import episodes_sha256
from maclip.training import api
from maclip_cli.workstation.app import app
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Preprocess

UNREADABLE = MaclipError("clip-unreadable", "it is broken.", "Mend it.")
LENIENT = CPU.changed(max_broken=0.2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("coloured") / "data", 5)


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    """15 clips of 3 classes, of which two cannot be read."""
    shutil.copytree(whole, tmp_path / "data")
    (tmp_path / "data" / "red" / "1.mp4").write_bytes(b"")
    write_video(tmp_path / "data" / "blue" / "4.mp4", moving("blue", 3, 1))
    return tmp_path / "data"


def classes(*sizes: int) -> list[ActionClass]:
    return [
        ActionClass(f"c{n}", None, True, tuple(Path(f"{n}/{i}.mp4") for i in range(size)))
        for n, size in enumerate(sizes)
    ]


def test_who_stands_in_is_of_the_class_new_and_decided_by_the_episode_alone():
    ids = np.array([0, 7, 3, 12])
    known = BrokenClips(classes(5, 5, 5), share=1.0)
    for clip in (0, 2, 3):
        known.add(clip, UNREADABLE)
    chosen = known.replace_broken(ids)
    assert chosen.tolist()[1::2] == [7, 12]
    assert sorted(chosen[[0, 2]]) == [1, 4]
    learning = BrokenClips(classes(5, 5, 5), share=1.0)  # finds out by trying
    tried = ids.copy()
    for place in range(len(ids)):
        for clip in learning.with_fallbacks(ids, place):
            if clip != ids[place] and clip in tried:
                continue
            if clip in (0, 2, 3):
                learning.add(clip, UNREADABLE)
                continue
            tried[place] = clip
            break
    assert (tried == chosen).all()
    stood_in = {known.replace_broken(np.array([0, 5, 10, other]))[0] for other in (6, 7, 8, 9, 11, 12, 13, 14)}
    assert stood_in == {1, 4}


def test_too_few_left_names_the_class():
    broken = BrokenClips(classes(5, 3), share=1.0)
    broken.add(6, UNREADABLE)
    broken.add(5, UNREADABLE)
    with pytest.raises(MaclipError) as caught:
        broken.replace_broken(np.array([0, 5, 1, 7]))
    assert caught.value.code == "too-few-clips"
    assert "2 of the 3 clips of 'c1'" in caught.value.message


@pytest.mark.parametrize("cache", ["none", "stem", "disk"])
def test_training_skips_broken_clips_and_names_them(data, tmp_path, monkeypatch, cache):
    small_training(monkeypatch)
    state, notes = train(data, tmp_path / "run", LENIENT, cache=cache)
    assert all(value.isfinite().all() for value in state.values())
    (report,) = (note for note in notes if "clips skipped" in note)
    assert report.startswith("2 of 15 training clips")
    assert f"clip-unreadable: {data / 'red' / '1.mp4'}" in report
    assert f"clip-too-short: {data / 'blue' / '4.mp4'}" in report


@pytest.mark.parametrize("cache", ["none", "stem"])
@pytest.mark.parametrize("stop_after", [2, 4])
def test_resuming_meets_the_same_clips(data, tmp_path, monkeypatch, cache, stop_after):
    small_training(monkeypatch)
    whole, notes = train(data, tmp_path / "whole", LENIENT, cache=cache)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "cut", LENIENT, Listener(stop_after), cache=cache)
    callbacks = Listener()
    api.resume(tmp_path / "cut", callbacks=callbacks, machine=LENIENT)
    assert [note for note in callbacks.notes if "skipped" in note] == [note for note in notes if "skipped" in note]
    assert all(torch.equal(adapters(tmp_path / "cut")[key], value) for key, value in whole.items())


def test_what_was_met_before_a_resume_is_reported_too(data, tmp_path, monkeypatch):
    small_training(monkeypatch)
    few = {"cache": "none", "prototype_episodes": 0, "seed": 44}
    _, notes = train(data, tmp_path / "whole", LENIENT, **few)
    (whole,) = (note for note in notes if "skipped" in note)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "cut", LENIENT, Listener(2), **few)
    tried = []
    read = ClipReader.read
    monkeypatch.setattr(ClipReader, "read", lambda self, path, choose: tried.append(path) or read(self, path, choose))
    callbacks = Listener()
    api.resume(tmp_path / "cut", callbacks=callbacks, machine=LENIENT)
    assert whole in callbacks.notes
    assert sum(path == data / "red" / "1.mp4" for path in tried) == 1  # with this seed no later episode has it


def test_a_clip_that_was_mended_meanwhile_is_not_reported(data, tmp_path, monkeypatch):
    small_training(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "cut", LENIENT, Listener(4), cache="none")
    shutil.copy(data / "red" / "0.mp4", data / "red" / "1.mp4")
    callbacks = Listener()
    api.resume(tmp_path / "cut", callbacks=callbacks, machine=LENIENT)
    (report,) = (note for note in callbacks.notes if "skipped" in note)
    assert report.startswith("1 of 15 training clips")
    assert "red" not in report.replace(str(tmp_path), "")


@pytest.mark.parametrize("cache", ["none", "stem"])
def test_more_than_the_share_ends_training_and_names_the_first(data, tmp_path, monkeypatch, cache):
    small_training(monkeypatch)
    callbacks = Listener()
    with pytest.raises(MaclipError) as caught:
        train(data, tmp_path / "run", CPU.changed(max_broken=0.1), callbacks, cache=cache)
    assert caught.value.code == "data-broken"
    assert "2 of 15 clips" in caught.value.message
    assert "red/1.mp4 is empty" in caught.value.message
    assert any("clips skipped" in note for note in callbacks.notes)
    with pytest.raises(MaclipError) as caught:
        train(data, tmp_path / "strict", CPU.changed(max_broken=0.0), cache=cache)
    assert caught.value.code in ("clip-unreadable", "clip-too-short")


@pytest.mark.parametrize("cache", ["none", "stem"])
def test_nothing_but_broken_clips_end_training_whatever_may_be(tmp_path, monkeypatch, cache):
    small_training(monkeypatch)
    for name in ("red", "green", "blue"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "data" / name / f"{number}.mp4").touch()
    with pytest.raises(MaclipError) as caught:
        train(tmp_path / "data", tmp_path / "run", CPU.changed(max_broken=1.0), cache=cache)
    assert caught.value.code == "data-broken"


def test_an_evaluation_refuses_broken_clips_or_leaves_them_out_of_its_record(data, whole, make_model):
    model = make_model(adapted_depth=1, frames=4)
    with pytest.raises(MaclipError) as caught:
        Evaluator(model, store_for(model, open_folders(data).classes))
    assert caught.value.code == "clip-too-short"
    reader = ClipReader(model.backbone.preprocess, 4)
    store = ClipStore(open_folders(data).classes, reader, max_broken=0.2)
    evaluator = Evaluator(model, store)
    assert evaluator.sizes == [4, 5, 4]
    result = evaluator.evaluate(3, 1, 20, seed=0)
    (data / "red" / "1.mp4").unlink()
    (data / "blue" / "4.mp4").unlink()
    clean = open_folders(data).classes
    assert result == Evaluator(model, store_for(model, clean)).evaluate(3, 1, 20, seed=0)
    digest = episodes_sha256(evaluator.classes, result)
    assert digest == episodes_sha256(clean, result)
    assert digest != episodes_sha256(open_folders(whole).classes, result)


def grown(path: Path) -> Path:
    """A video whose pictures change their shape on the way, as pieces of two cameras joined together."""
    small, large = moving("red", 10, 1), moving("red", 10, 2)[:, :, :40]
    return write_pieces(path, small, large)


def write_pieces(path: Path, *pieces: np.ndarray) -> Path:
    parts = [write_video(path.with_name(f".{n}.mpg"), piece, 25) for n, piece in enumerate(pieces)]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty.mp4": lambda path: path.write_bytes(b""),
    "text.mp4": lambda path: path.write_text("not a video"),
    "sound.mp4": write_sound,
    "short.mp4": lambda path: write_video(path, moving("red", 3, 1)),
    "truncated.mp4": lambda path: path.write_bytes(write_video(path, moving("red", 12, 1)).read_bytes()[:300]),
    "grown.mpg": grown,
}


def test_data_check_and_training_agree_on_what_is_broken(data, tmp_path, make_model):
    for name, damage in DAMAGE.items():
        damage(data / COLOURS[0] / name)
    folder = data / "green" / "pictures"
    folder.mkdir()
    for i in range(5):
        (folder / f"{i}.png").write_bytes(b"not a picture")
    found = open_folders(data)
    checked = {problem.clip: problem.code for problem in check_clips(found.classes, 4).problems}
    reader = ClipReader(Preprocess.for_size(32, (0.5,) * 3, (0.5,) * 3), 4)
    store = ClipStore(found.classes, reader, max_broken=1.0)
    clip_features(make_model(adapted_depth=3, frames=4), store, None, rng=np.random.default_rng(0))
    assert {str(store.paths[i]): error.code for i, error in store.broken.errors.items()} == checked
    assert len(checked) == 2 + len(DAMAGE) + 1


def test_eval_refuses_too_few_clips_before_it_loads_the_model(data, tmp_path, monkeypatch):
    small_training(monkeypatch)
    train(data, tmp_path / "run", CPU.changed(max_broken=1.0))
    monkeypatch.setattr("maclip.runs.load_backbone", lambda *_: pytest.fail("the model was loaded"))
    done = CliRunner().invoke(app, ["eval", str(tmp_path / "run"), str(data), "--way", "3", "--shot", "5"])
    assert isinstance(done.exception, MaclipError)
    assert done.exception.code == "too-few-clips"
