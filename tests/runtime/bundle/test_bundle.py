"""A bundle is used only when every byte of it is what was exported."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import NAMES, seal, text_features, write_bundle

from maclip_runtime.bundle.manifest import BLANK_SEAL, Manifest, sealed
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.errors import MaclipError


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def code_of(path: Path) -> str:
    with pytest.raises(MaclipError) as caught:
        Bundle.open(path)
    assert caught.value.exit_code == 2
    return caught.value.code


def edit(path: Path, **changes: object) -> None:
    data = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(sealed(json.dumps({**data, **changes, "seal": BLANK_SEAL})))


def files_of(path: Path) -> dict[str, dict[str, object]]:
    return dict(json.loads((path / "manifest.json").read_text())["files"])


def test_whole_bundle_opens(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert opened.names == NAMES
    np.testing.assert_array_equal(opened.text_feature("Waving_Hello"), text_features()[3])


@pytest.mark.parametrize("name", ["visual.onnx", "match.onnx", "names.safetensors", "names.json"])
def test_one_changed_byte_is_noticed(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    assert code_of(copy) == "bundle-corrupt"


def test_missing_file_is_noticed(copy: Path) -> None:
    (copy / "match.onnx").unlink()
    assert code_of(copy) == "bundle-corrupt"


def test_unlisted_file_is_refused(copy: Path) -> None:
    (copy / "visual.onnx.data").write_bytes(b"weights from elsewhere")
    assert code_of(copy) == "bundle-corrupt"


def test_graph_that_is_not_listed_is_refused(copy: Path) -> None:
    files = files_of(copy)
    del files["match.onnx"]
    (copy / "match.onnx").rename(copy / ".match.onnx")
    edit(copy, files=files)
    assert code_of(copy) == "bundle-corrupt"


def test_paths_may_not_leave_the_bundle(copy: Path) -> None:
    outside = copy.parent / "outside.bin"
    outside.write_bytes(b"x")
    spec = {"sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", "size": 1}
    for name in ("../outside.bin", str(outside), "..\\outside.bin", "a/../../outside.bin"):
        edit(copy, files={**files_of(copy), name: spec})
        assert code_of(copy) == "bundle-corrupt"
        edit(copy, files={key: value for key, value in files_of(copy).items() if key != name})
    Bundle.open(copy)


def test_links_may_not_leave_the_bundle(copy: Path) -> None:
    outside = copy.parent / "match.onnx"
    (copy / "match.onnx").rename(outside)
    (copy / "match.onnx").symlink_to(outside)
    assert code_of(copy) == "bundle-corrupt"


def test_a_linked_bundle_is_a_bundle(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundle, target_is_directory=True)
    Bundle.open(tmp_path / "link")


def test_other_schema_and_unknown_keys(copy: Path) -> None:
    edit(copy, colour="red")
    assert code_of(copy) == "bundle-schema"
    edit(copy, schema=99)
    assert code_of(copy) == "bundle-schema"
    (copy / "manifest.json").write_text("{")
    assert code_of(copy) == "bundle-schema"


@pytest.mark.parametrize("text_length", ["long", "", 1, None])
def test_text_length_is_unit_or_raw(copy: Path, text_length: object) -> None:
    names = json.loads((copy / "manifest.json").read_text())["names"]
    assert names["text_length"] == "unit"
    edit(copy, names={**names, "text_length": "raw"})
    assert Bundle.open(copy).manifest.names.text_length == "raw"
    edit(copy, names={**names, "text_length": text_length})
    assert code_of(copy) == "bundle-schema"


def test_no_bundle(tmp_path: Path) -> None:
    assert code_of(tmp_path) == "bundle-missing"
    assert code_of(tmp_path / "absent") == "bundle-missing"


def test_names_and_features_must_agree(copy: Path) -> None:
    (copy / "names.json").write_text(json.dumps({"names": ["one"], "templates": []}))
    manifest = Manifest.from_json((copy / "manifest.json").read_text())
    seal(copy, manifest)
    assert code_of(copy) == "bundle-corrupt"


def test_missing_graphs_are_told(copy: Path) -> None:
    manifest = Manifest.from_json((copy / "manifest.json").read_text())
    graphs = {name: spec for name, spec in manifest.graphs.items() if name != "match"}
    seal(copy, dataclasses.replace(manifest, graphs=graphs))
    assert code_of(copy) == "bundle-schema"


def test_unknown_name_comes_with_the_nearest(bundle: Path) -> None:
    with pytest.raises(MaclipError, match="'opening a door', 'closing a door'") as caught:
        Bundle.open(bundle).text_feature("opening the door")
    assert caught.value.code == "name-unknown"
    for way_out in ("--text", "--no-text", "--names"):
        assert way_out in caught.value.fix


def test_graph_digest_follows_its_weights(bundle: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other", prototype_factor=2.0)
    first, second = Bundle.open(bundle), Bundle.open(other)
    assert first.graph_digest("prototype") != second.graph_digest("prototype")
    assert first.graph_digest("match") == second.graph_digest("match")
