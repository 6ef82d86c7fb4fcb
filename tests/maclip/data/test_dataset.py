"""Folders of clips as people have them, and episodes drawn from them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from videos import color_video

from maclip.data.clip_reader import ClipReader
from maclip.data.dataset import data_sha256, natural_name, open_folders
from maclip.data.episodes import EpisodeSampler
from maclip_export import read_names
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Preprocess

PREPROCESS = Preprocess.for_size(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def make(root: Path, *clips: str) -> Path:
    for clip in clips:
        (root / clip).parent.mkdir(parents=True, exist_ok=True)
        (root / clip).write_bytes(b"")
    return root


def refused(root: Path, code: str) -> None:
    with pytest.raises(MaclipError) as caught:
        open_folders(root)
    assert caught.value.code == code


def test_classes_alone_serve_every_split(tmp_path):
    data = open_folders(make(tmp_path, "wave_hand/a.mp4", "wave_hand/b.avi", "jump/c.MOV", "notes.txt", ".git/x.mp4"))
    assert [c.name for c in data.classes] == ["jump", "wave hand"]
    assert [len(c.clips) for c in data.classes] == [1, 2]
    assert not data.has_splits()
    assert data.split("train") == data.split("test") == data.classes


def test_split_folders_divide_the_classes(tmp_path):
    data = open_folders(make(tmp_path, "train/jump/a.mp4", "val/run/a.mp4", "test/sit/a.mp4"))
    assert [c.name for c in data.split("val")] == ["run"]
    assert data.has_splits()


@pytest.mark.parametrize("split", ["", "train/"])
def test_folders_that_name_a_side_are_not_mirrored(tmp_path, split):
    names = ("jump", "step_Left", "swipe_right", "turn_counterclockwise")
    data = open_folders(make(tmp_path, *(f"{split}{name}/a.mp4" for name in names)))
    assert [c.mirror for c in data.classes] == [True, False, False, False]


def test_a_folder_of_pictures_is_a_clip(tmp_path):
    data = open_folders(make(tmp_path, "jump/clip1/000.jpg", "jump/clip1/001.jpg", "jump/empty/notes.txt"))
    assert [clip.name for clip in data.classes[0].clips] == ["clip1"]


def test_classes_json_names_and_splits(tmp_path):
    make(tmp_path, "a/1.mp4", "b/1.mp4")
    listed = {"a": {"name": "moving up", "split": "val"}, "b": {"name": "moving left", "split": "train"}}
    (tmp_path / "classes.json").write_text(json.dumps({"classes": listed}))
    data = open_folders(tmp_path)
    assert [(c.name, c.split, c.mirror) for c in data.classes] == [
        ("moving up", "val", True),
        ("moving left", "train", False),
    ]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"classes": {"a": {}}}', '{"classes": {"a": {"name": "x", "split": "dev"}}}',
     '{"classes": {"../a": {"name": "x"}}}', '{"classes": {"amiss": {"name": "x"}}}', "[" * 100_000,
     '{"classes": {"a": {"name": "x", "split": "train"}, "a": {"name": "x", "split": "test"}}}',
     '{"classes": {"..": {"name": "x"}}}', '{"classes": {"a": {"name": ""}}}'],
)  # fmt: skip
def test_a_bad_classes_json_is_refused(tmp_path, text):
    make(tmp_path, "a/1.mp4")
    (tmp_path / "classes.json").write_text(text)
    refused(tmp_path, "classes-invalid")


def test_two_classes_of_one_name_are_refused(tmp_path):
    make(tmp_path, "draw_sword/1.mp4", "draw sword/1.mp4")
    with pytest.raises(MaclipError, match="called 'draw sword'") as caught:
        open_folders(tmp_path)
    assert caught.value.code == "classes-invalid"
    assert "draw_sword" in caught.value.message


def test_either_all_classes_have_a_split_or_none(tmp_path):
    make(tmp_path, "a/1.mp4", "b/1.mp4", "c/1.mp4")
    listed = {name: {"name": name, "split": split} for name, split in (("a", "train"), ("b", "val"))}
    (tmp_path / "classes.json").write_text(json.dumps({"classes": {**listed, "c": {"name": "sitting"}}}))
    with pytest.raises(MaclipError, match="1 of 3 classes have no split, 'sitting' first") as caught:
        open_folders(tmp_path)
    assert caught.value.code == "classes-invalid"
    (tmp_path / "d").mkdir()
    (tmp_path / "classes.json").write_text(json.dumps({"classes": {**listed, "d": {"name": "no clips"}}}))
    assert len(open_folders(tmp_path).classes) == 2


def test_a_clip_under_two_names_is_one_clip(tmp_path):
    make(tmp_path, "train/jump/a.mp4", "test/sit/b.mp4")
    (tmp_path / "test" / "sit" / "c.mp4").symlink_to(tmp_path / "train" / "jump" / "a.mp4")
    refused(tmp_path, "splits-overlap")
    (tmp_path / "test" / "sit" / "c.mp4").unlink()
    (tmp_path / "train" / "run").mkdir()
    (tmp_path / "train" / "run" / "c.mp4").hardlink_to(tmp_path / "train" / "jump" / "a.mp4")
    refused(tmp_path, "classes-invalid")


def test_a_clip_twice_in_a_class_would_be_shown_and_asked_for(tmp_path):
    make(tmp_path, "jump/a.mp4", "sit/a.mp4")
    (tmp_path / "jump" / "b.mp4").symlink_to(tmp_path / "jump" / "a.mp4")
    with pytest.raises(
        MaclipError, match=r"a\.mp4 and .*b\.mp4, two clips of the class 'jump', are one file"
    ) as caught:
        open_folders(tmp_path)
    assert caught.value.code == "classes-invalid"


@pytest.mark.parametrize(
    ("one", "other"), [("caf\u00e9", "cafe\u0301"), ("Waving", "waving"), ("wave_hand", "wave  hand")]
)
def test_a_name_written_otherwise_is_the_same_class(tmp_path, one, other):
    make(tmp_path, f"train/{one}/a.mp4", f"test/{other}/b.mp4")
    refused(tmp_path, "splits-overlap")
    shutil.rmtree(tmp_path / "test")
    make(tmp_path, "b/1.mp4", "c/1.mp4")
    listed = {"b": {"name": one, "split": "train"}, "c": {"name": f" {other} ", "split": "test"}}
    (tmp_path / "classes.json").write_text(json.dumps({"classes": listed}))
    refused(tmp_path, "splits-overlap")


def test_what_is_no_class_is_said(tmp_path):
    data = open_folders(make(tmp_path, "jump/a.mp4", "sit/notes.txt", ".git/x", "a.txt"))
    assert [said.split(" in ")[0] for said in data.left_out] == ["left out: sit"]
    (tmp_path / "sit" / "notes.txt").unlink()
    assert open_folders(make(tmp_path, "sit/a.mp4")).left_out == ()
    make(tmp_path, "train/run/a.mp4", "validation/walk/a.mp4", "test/empty/notes.txt")
    assert open_folders(tmp_path).left_out[0].startswith("left out: jump, sit, validation, test/empty in ")
    (tmp_path / "classes.json").write_text('{"classes": {"jump": {"name": "jumping"}}}')
    assert open_folders(tmp_path).left_out[0].startswith("left out: sit, test, train, validation in ")
    make(tmp_path, *(f"{number}/a.txt" for number in range(9)))
    assert "0, 1, 2, 3, 4 and 8 more in " in open_folders(tmp_path).left_out[0]


def test_a_link_to_nothing_is_left_to_the_reader(tmp_path):
    make(tmp_path, "jump/a.mp4")
    whole = data_sha256(open_folders(tmp_path))
    (tmp_path / "jump" / "b.mp4").symlink_to(tmp_path / "gone.mp4")
    data = open_folders(tmp_path)
    assert len(data.classes[0].clips) == 2
    assert data_sha256(data) != whole


def test_classes_json_may_begin_with_a_byte_order_mark(tmp_path):
    make(tmp_path, "a/1.mp4")
    (tmp_path / "classes.json").write_text(json.dumps({"classes": {"a": {"name": "up"}}}), encoding="utf-8-sig")
    assert [c.name for c in open_folders(tmp_path).classes] == ["up"]


def test_no_folder_and_no_class_are_refused(tmp_path):
    refused(tmp_path / "nowhere", "data-missing")
    refused(tmp_path, "data-empty")
    refused(make(tmp_path, "a/notes.txt"), "data-empty")


def test_evaluation_reads_a_clip_always_alike_and_training_anew(tmp_path):
    path = color_video(tmp_path / "clip.mp4", [("red", 0.5), ("green", 0.5)])
    reader = ClipReader(PREPROCESS, 4)
    first, again = reader.centre(path), reader.centre(path)
    assert first.shape == (4, 32, 32, 3)
    assert (first == again).all()
    seeded = [reader.random(path, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert (seeded[0] == seeded[1]).all()
    assert (seeded[0] != seeded[2]).any()


def test_only_clips_that_allow_it_are_mirrored(tmp_path):
    frames = np.zeros((8, 64, 64, 3), np.uint8)
    frames[:, :, :32] = 255
    from videos import write_video

    path = write_video(tmp_path / "half.mp4", frames)

    def left_is_bright(seed: int, mirror: bool) -> bool:
        clip = ClipReader(PREPROCESS, 4).random(path, np.random.default_rng(seed), mirror)
        return bool(clip[..., :8, :].mean() > clip[..., -8:, :].mean())

    assert {left_is_bright(seed, mirror=True) for seed in range(12)} == {True, False}
    assert {left_is_bright(seed, mirror=False) for seed in range(12)} == {True}


def test_episodes_repeat_by_seed_and_never_share_a_clip():
    sizes = [4, 6, 2, 9, 5, 7]
    sampler = EpisodeSampler(sizes, way=4, shot=2, queries=2, seed=3)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    for i in range(50):
        episode = sampler[i]
        again = EpisodeSampler(sizes, 4, 2, 2, 3)[i]
        assert (episode.support == again.support).all()
        assert not set(episode.support) & set(episode.query)
        assert 2 not in episode.classes  # has too few clips
        assert (owner[episode.support] == np.repeat(episode.classes, 2)).all()
        assert (owner[episode.query] == episode.classes[episode.labels(episode.query)]).all()
    assert any((sampler[i].support != EpisodeSampler(sizes, 4, 2, 2, 4)[i].support).any() for i in range(5))


def test_too_few_clips_say_how_many_are_needed():
    with pytest.raises(MaclipError, match="5 classes of 6 clips") as caught:
        EpisodeSampler([6, 6, 6, 6, 5], way=5, shot=5, queries=1, seed=0)
    assert caught.value.code == "too-few-clips"


def test_clips_are_what_the_readers_read_and_the_rest_is_named_and_counted(tmp_path):
    videos = [f"jump/{suffix}.{suffix}" for suffix in ("3gp", "MTS", "m2ts", "vob", "asf", "mxf", "mp4")]
    pictures = [f"sit/{suffix}/0.{suffix}" for suffix in ("jpg", "png", "bmp", "webp", "tif")]
    others = ["jump/a.txt", "jump/b.txt", "sit/heic/0.heic", "jump/LICENSE", "jump/.DS_Store", "stray.mp4"]
    data = open_folders(make(tmp_path, *videos, *pictures, *others, "__MACOSX/clip/._0.jpg"))
    assert [len(c.clips) for c in data.classes] == [7, 5]
    assert [c.name for c in data.classes] == ["jump", "sit"]
    folders, entries = data.left_out
    assert folders.startswith("left out: __MACOSX in ")
    assert entries.startswith("left out: jump/LICENSE, jump/a.txt, jump/b.txt, sit/heic, stray.mp4 in ")
    assert entries.endswith("5 entries are no clips of a class (2 .txt, 1 no suffix, 1 folder, 1 .mp4)")


@pytest.mark.parametrize("clip", ["a.mp4", "a/0.jpg"])
def test_classes_may_be_called_as_splits_are(tmp_path, clip):
    data = open_folders(make(tmp_path, *(f"{name}/{clip}" for name in ("train", "test", "val", "jump"))))
    assert [c.name for c in data.classes] == ["jump", "test", "train", "val"]
    assert not data.has_splits()
    split = open_folders(make(tmp_path / "divided", f"train/test/{clip}", f"val/val/{clip}", f"test/train/{clip}"))
    assert [(c.name, c.split) for c in split.classes] == [("test", "train"), ("val", "val"), ("train", "test")]
    assert split.left_out == ()


@pytest.mark.parametrize(
    "clip",
    [b"caf\xe9/a.mp4", b"jump/caf\xe9.mp4", b"jump/caf\xe9/0.jpg", b"train/caf\xe9/a.mp4", b"train/jump/\xff.mp4"],
)
def test_a_name_that_is_not_utf8_is_refused_before_anything_is_read(tmp_path, clip):
    make(tmp_path, "sit/b.mp4" if b"train" not in clip else "train/sit/b.mp4")
    path = Path(os.fsdecode(bytes(tmp_path) + b"/" + clip))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    with pytest.raises(MaclipError, match=r"\\xe9|\\xff") as caught:
        open_folders(tmp_path)
    assert caught.value.code == "names-invalid"
    caught.value.message.encode()
    inside = Path(os.fsdecode(bytes(tmp_path) + b"/\xe9"))
    make(inside, "jump/a.mp4")
    refused(inside, "names-invalid")


def test_labels_in_camel_case_become_the_words_of_the_built_in_list():
    names = read_names("ucf101")
    assert [natural_name("".join(word.capitalize() for word in name.split())) for name in names] == names
    assert natural_name("HandstandPushups") == "handstand pushups"
    phrases = ["passing American football", "TV", "iPhone", "class01", "Closing something", "swipe Left"]
    assert [natural_name(phrase) for phrase in phrases] == phrases
    assert [natural_name(one) for one in ("WatchTV", "openDoor", "YoYo")] == ["watch TV", "open door", "yo yo"]


def test_labels_of_public_lists_become_the_words_of_the_built_in_list(shared_data):
    lists = (shared_data / "splits" / "trx" / "ucf_ARN").glob("*.txt")
    labels = {line.split("/")[0] for file in lists for line in file.read_text().split()}
    assert {natural_name(label) for label in labels} == set(read_names("ucf101"))
