"""Public split lists are read as they are, and what does not fit together is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maclip.data.dataset import Dataset, open_folders
from maclip.data.split_lists import open_lists, read_list
from maclip_runtime.errors import MaclipError

SPLITS = Path(__file__).resolve().parents[4] / "shared" / "data" / "splits"
CLIPS = SPLITS.parent / "ssv2small"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Videos as HMDB51, UCF101 and SSv2 lay them out; nothing here is decoded."""
    folder = tmp_path / "data"
    for name in (
        "videos/draw_sword/a.avi",
        "videos/draw_sword/b.avi",
        "videos/fall_floor/c.avi",
        "51958.webm",
        "7.webm",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"video")
    return folder


def lists(folder: Path, **splits: str) -> Path:
    where = folder / "lists"
    where.mkdir(exist_ok=True)
    for split, lines in splits.items():
        (where / f"{split}_few_shot.txt").write_text(lines)
    return where


def found(data: Dataset) -> dict[str, tuple[str | None, list[str]]]:
    return {c.name: (c.split, [clip.name for clip in c.clips]) for c in data.classes}


def test_numbered_classes_with_paths_take_their_folders_name(tmp_path: Path, root: Path) -> None:
    where = lists(
        tmp_path,
        train="train0//videos/draw_sword/a.avi\ntrain0//videos/draw_sword/b.avi\n",
        test="test0//videos/fall_floor/c.avi\n",
    )
    assert found(open_lists(root, where)) == {
        "draw sword": ("train", ["a.avi", "b.avi"]),
        "fall floor": ("test", ["c.avi"]),
    }


def test_numbered_classes_take_names_from_json_or_yaml(tmp_path: Path, root: Path) -> None:
    where = lists(tmp_path, train="train1/51958\n", val="val0/7\n")
    (tmp_path / "n.json").write_text(json.dumps({"small": {"train": ["x", "Closing [something]"], "val0": "waving"}}))
    expected = {"Closing something": ("train", ["51958.webm"]), "waving": ("val", ["7.webm"])}
    assert found(open_lists(root, where, f"{tmp_path}/n.json#small")) == expected
    (tmp_path / "n.yaml").write_text("train: [x, 'Closing [something]']\nval: [waving]\n", encoding="utf-8-sig")
    assert found(open_lists(root, where, f"{tmp_path}/n.yaml")) == expected


def test_classes_by_name_find_their_clip_without_its_suffix(tmp_path: Path, root: Path) -> None:
    where = lists(tmp_path, train="Pouring something/51958\n", test="Poking, (really)/7\n")
    assert found(open_lists(root, where)) == {
        "Pouring something": ("train", ["51958.webm"]),
        "Poking, (really)": ("test", ["7.webm"]),
    }


def test_only_classes_without_a_side_may_be_mirrored(tmp_path: Path, root: Path) -> None:
    where = lists(tmp_path, train="train0/51958\n", test="Pulling something from left to right/7\n")
    (tmp_path / "n.json").write_text('{"train": ["waving"]}')
    data = open_lists(root, where, str(tmp_path / "n.json"))
    assert [(c.name, c.mirror) for c in data.classes] == [
        ("waving", True),
        ("Pulling something from left to right", False),
    ]
    (tmp_path / "n.json").write_text('{"train": ["turning clockwise"]}')  # the name counts, not the label
    assert [c.mirror for c in open_lists(root, where, str(tmp_path / "n.json")).classes] == [False, False]


@pytest.mark.parametrize(
    ("splits", "names", "code"),
    [
        ({"train": "train0/51958\n"}, None, "names-invalid"),
        ({"train": "train0/51958\n"}, "{", "names-invalid"),
        ({"train": "train0/51958\n"}, '{"train": [""]}', "names-invalid"),
        ({"train": "train0/51958\n"}, '{"a": {"train": ["x"]}}', "names-invalid"),
        ({"train": "throw\n"}, None, "lists-invalid"),
        ({"train": "throw/../../etc/passwd\n"}, None, "lists-invalid"),
        ({}, None, "lists-invalid"),
        ({"train": "throw/none\n"}, None, "clips-missing"),
        ({"train": "throw/7\n", "test": "Throw/51958\n"}, None, "splits-overlap"),
        ({"train": "throw/7\n", "test": "catch/7\n"}, None, "splits-overlap"),
        ({"train": "throw/7\nThrow/51958\n"}, None, "classes-invalid"),
        ({"train": "throw/7\ncatch/7\n"}, None, "classes-invalid"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, root, splits, names, code) -> None:
    where = lists(tmp_path, **splits)
    if names:
        (tmp_path / "n.json").write_text(names)
    with pytest.raises(MaclipError) as refused:
        open_lists(root, where, str(tmp_path / "n.json") if names else None)
    assert refused.value.code == code


def test_missing_clips_are_counted_or_left_out(tmp_path: Path, root: Path) -> None:
    where = lists(tmp_path, train="throw/7\nthrow/8\nthrow/9\n")
    with pytest.raises(MaclipError, match=r"2 clips .* throw/8"):
        open_lists(root, where)
    data = open_lists(root, where, skip_missing=True)
    assert found(data) == {"throw": ("train", ["7.webm"])}
    assert data.left_out == ("left out: 2 clips of the lists do not exist, train_few_shot.txt: throw/8 first",)
    assert open_lists(root, lists(tmp_path, train="./throw/7\n")).classes[0].name == "throw"


def test_a_fix_names_options_that_there_are(tmp_path: Path, root: Path) -> None:
    for split, way_out in (("val", True), ("train", False)):  # of the two the list of train is read first
        with pytest.raises(MaclipError) as refused:
            open_lists(root, lists(tmp_path, **{split: f"{split}0/7\n"}))
        assert f'--class-names FILE with {{"{split}": ' in refused.value.fix
        assert (f"remove {split}_few_shot.txt" in refused.value.fix) is way_out


def test_a_class_in_two_split_folders_is_refused(tmp_path: Path) -> None:
    for folder in ("train/waving_hello", "test/Waving hello"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.mp4").write_bytes(b"video")
    with pytest.raises(MaclipError) as refused:
        open_folders(tmp_path)
    assert refused.value.code == "splits-overlap"


@pytest.mark.skipif(not SPLITS.is_dir(), reason="the shared lists are not here")
def test_the_public_lists_are_read_whole() -> None:
    counted = {
        "clip-fsar/hmdb51": (4280, 31, 1194, 10, 1292, 10),
        "trx/ssv2_OTAM": (67013, 64, 1926, 12, 2857, 24),
        "cmn/smsm-100": (6400, 64, 1200, 12, 2400, 24),
    }
    for folder, expected in counted.items():
        figures: list[int] = []
        for split in ("train", "val", "test"):
            (file,) = (SPLITS / folder).glob(f"{split}*")
            lines = list(read_list(file))
            figures += [len(lines), len({line.label for line in lines})]
        assert tuple(figures) == expected


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the shared clips are not here")
def test_real_frame_folders_are_found_by_a_public_list(tmp_path: Path) -> None:
    (file,) = (SPLITS / "trx" / "ssv2_OTAM").glob("train*")
    there = {clip.name for clip in (CLIPS / "train").glob("*/*")}
    lines = [f"{line.label}/{line.clip}" for line in read_list(file) if line.clip in there]
    where = lists(tmp_path, train="\n".join(lines))
    names = tmp_path / "n.json"
    names.write_text(json.dumps({"train": [f"class {i}" for i in range(64)]}))
    data = open_lists(CLIPS, where, str(names))
    assert sum(len(c.clips) for c in data.classes) == len(lines) == 50
