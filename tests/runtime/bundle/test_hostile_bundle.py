"""Bundles that were damaged, or made to do harm: refused in plain words, and nothing is read from elsewhere."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import seal, write_bundle

from maclip_runtime.bundle.manifest import BLANK_SEAL, Manifest, sealed
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.bundle.vocabulary import Names
from maclip_runtime.errors import MaclipError

RANDOM_PLACES = 12  # of a file, beside its first, middle and last byte
ODD_PATHS = (
    *("../outside", "/etc/hostname", "a/../../outside", "..\\outside", "C:outside"),
    *("", ".", "a\nb", "a\x00b", "x" * 5000),
)
REFUSED = {"bundle-corrupt", "bundle-schema"}


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def code_of(path: Path) -> str:
    with pytest.raises(MaclipError) as caught:
        Bundle.open(path)
    assert "Traceback" not in caught.value.message
    return caught.value.code


def edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change the manifest as one would who can also seal it."""
    data = json.loads((path / "manifest.json").read_text())
    change(data)
    (path / "manifest.json").write_text(sealed(json.dumps({**data, "seal": BLANK_SEAL}, indent=2)))


@pytest.mark.parametrize("split", [False, True])
def test_bytes_changed_anywhere_are_refused(tmp_path: Path, split: bool) -> None:
    """Each file: first, middle, last byte and some at random, a byte less, a byte more."""
    path = write_bundle(tmp_path / "bundle", split=split)
    rng = np.random.default_rng(0)
    for file in sorted(path.iterdir()):
        whole = file.read_bytes()
        places = {0, len(whole) // 2, len(whole) - 1, *rng.integers(0, len(whole), RANDOM_PLACES).tolist()}
        changes = [whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :] for place in places]
        for changed in (*changes, whole[:-1], whole[: len(whole) // 2], b"", whole + b"\n"):
            file.write_bytes(changed)
            assert code_of(path) in REFUSED, file.name
        file.write_bytes(whole)
    Bundle.open(path)


def test_every_byte_of_the_manifest_counts(copy: Path) -> None:
    """Figures and spaces too: it has no other file that vouches for it."""
    text = (copy / "manifest.json").read_text()
    Manifest.from_json(text)
    for place in range(0, len(text), 7):
        changed = text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
        with pytest.raises(MaclipError) as caught:
            Manifest.from_json(changed)
        assert caught.value.code in REFUSED


def test_a_manifest_without_its_seal_is_refused(copy: Path) -> None:
    data = json.loads((copy / "manifest.json").read_text())
    del data["seal"]
    (copy / "manifest.json").write_text(json.dumps(data))
    assert code_of(copy) == "bundle-corrupt"
    (copy / "manifest.json").write_text(json.dumps({**data, "schema": 2}))
    assert code_of(copy) == "bundle-schema"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 50_000 + "1" + "}" * 50_000,
        '{"schema": 3, "schema": 3}',
        "NaN",
        '"' + "a" * (5 << 20) + '"',
        '{"schema": [[[]]]}',
        '{"schema": ' + "9" * 5000 + "}",
        "\ufeff{}",
        "",
    ],
    ids=["arrays", "objects", "twice", "nan", "huge", "list", "digits", "mark", "empty"],
)
def test_hostile_json_is_refused(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    assert code_of(copy) in REFUSED
    (copy / "manifest.json").write_bytes(b"\xff\xfe\x00" + text.encode())
    assert code_of(copy) in REFUSED


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("frames", 1025),
        ("frames", 10**18),
        ("feature_width", 1 << 40),
        ("adapted_depth", -1),
        ("cohort", -1),
        ("cohort", 10**12),
        ("names", {"count": -1, "templates": ["{}"], "text_length": "unit"}),
        ("names", {"count": 10**12, "templates": ["{}"], "text_length": "unit"}),
        ("preprocess", {"size": 4096, "resize": 4096, "mean": [0, 0, 0], "std": [1, 1, 1]}),  # 4 GB with 80 frames
        ("text_encoder", {"tokenizer": "names.json", "context_length": 1 << 40, "clean": "lower"}),
        ("frames", -1),
        ("frames", 4.5),
        ("frames", True),
        ("frames", "4"),
        ("feature_width", 0),
        ("scale", float("nan")),
        ("scale", 10**400),
        ("fusion_weight", float("inf")),
        ("metric", None),
        ("graphs", []),
        ("files", None),
        ("names", {"count": 6}),
        ("preprocess", {"size": 1 << 40, "resize": 1 << 40, "mean": [0, 0, 0], "std": [1, 1, 1]}),
        ("preprocess", {"size": 0, "resize": 0, "mean": [0, 0, 0], "std": [1, 1, 1]}),
        ("preprocess", {"size": 32, "resize": 16, "mean": [0, 0, 0], "std": [1, 1, 1]}),
        ("preprocess", {"size": 32, "resize": 36, "mean": [0, 0], "std": [1, 1, 1]}),
        ("limit", {"distance": float("nan"), "measured_on": "nothing"}),
        ("__class__", "os.system"),
    ],
)
def test_values_that_cannot_be_are_refused(copy: Path, key: str, value: object) -> None:
    edit(copy, lambda data: data.update({"frames": 80, key: value}))
    assert code_of(copy) == "bundle-schema"


@pytest.mark.parametrize(
    "template",
    [
        *("{0}", "{name}", "{}{}", "a photo", "", "{", "}", "{}}", "{{}}", "{{{}}}", "{!r}"),
        *("{:>1000000000}", "{0.__class__}", "{0[0]}", "a {} " + "x" * 1000),
    ],
)
def test_a_template_is_text_with_one_gap(copy: Path, template: str) -> None:
    """Anything else is formatting, which could fill the memory or read what it should not."""
    names = {"count": 6, "templates": ["a photo of {}", template], "text_length": "unit"}
    edit(copy, lambda data: data.update(names=names))
    assert code_of(copy) == "bundle-schema"


def test_a_name_goes_into_the_gap_whatever_it_holds() -> None:
    assert Names(1, ("a {}.", "{}"), "unit").prompts("{} {0} %s") == ["a {} {0} %s.", "{} {0} %s"]


@pytest.mark.parametrize("shape", [[], [0, 12], [-1, 12], ["B", 1 << 40], ["B"] * 9])
@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_tensors_that_cannot_be_are_refused(copy: Path, side: str, shape: list[object]) -> None:
    def change(data: dict[str, object]) -> None:
        data["graphs"]["match"][side][0]["shape"] = shape  # type: ignore[index]

    edit(copy, change)
    assert code_of(copy) == "bundle-schema"


def test_graphs_without_inputs_are_refused(copy: Path) -> None:
    edit(copy, lambda data: data["graphs"]["match"].update(inputs=[]))  # type: ignore[index]
    assert code_of(copy) == "bundle-schema"


@pytest.mark.parametrize("names", [[1, 2, 3, 4, 5, 6], [None] * 6, ["x" * 1001] * 6, "abcdef", [["a"]] * 6])
def test_names_that_are_no_text_are_refused(copy: Path, names: object) -> None:
    (copy / "names.json").write_text(json.dumps({"names": names}))
    seal(copy, Manifest.from_json((copy / "manifest.json").read_text()))
    assert code_of(copy) == "bundle-corrupt"


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "/etc/hostname",
        "a/../../outside",
        "..\\outside",
        "C:outside",
        "",
        ".",
        "a\nb",
        "a\x00b",
        "x" * 5000,
    ],
)
def test_odd_paths_are_refused(copy: Path, name: str) -> None:
    (copy.parent / "outside").write_bytes(b"")
    spec = {"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "size": 0}
    edit(copy, lambda data: data["files"].update({name: spec}))  # type: ignore[attr-defined]
    assert code_of(copy) == "bundle-corrupt"


def test_names_that_one_disk_takes_for_the_same_are_refused(copy: Path) -> None:
    shutil.copy(copy / "match.onnx", copy / "MATCH.onnx")
    edit(copy, lambda data: data["files"].update({"MATCH.onnx": data["files"]["match.onnx"]}))  # type: ignore[attr-defined,index]
    assert code_of(copy) == "bundle-corrupt"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this system's folders")
@pytest.mark.parametrize("name", ["manifest.json", "match.onnx", "more.onnx"])
def test_pipes_are_refused_and_not_waited_for(copy: Path, name: str) -> None:
    (copy / name).unlink(missing_ok=True)
    os.mkfifo(copy / name)
    assert code_of(copy) == "bundle-corrupt"


def test_folders_in_place_of_files_are_refused(copy: Path) -> None:
    for name in ("match.onnx", "manifest.json"):
        whole = (copy / name).read_bytes()
        (copy / name).unlink()
        (copy / name).mkdir()
        assert code_of(copy) in {"bundle-corrupt", "bundle-missing"}
        (copy / name).rmdir()
        (copy / name).write_bytes(whole)


def test_linked_folder_brings_nothing_in(copy: Path) -> None:
    outside = copy.parent / "elsewhere"
    outside.mkdir()
    (outside / "match.onnx").write_bytes((copy / "match.onnx").read_bytes())
    (copy / "inner").symlink_to(outside, target_is_directory=True)

    def move(data: dict[str, object]) -> None:
        files = data["files"]
        assert isinstance(files, dict)
        files["inner/match.onnx"] = files["match.onnx"]

    edit(copy, move)
    assert code_of(copy) == "bundle-corrupt"
