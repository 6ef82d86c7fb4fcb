"""samples/research.py is the API for research in ten lines; it runs as it stands."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

import maclip

SAMPLE = Path(__file__).parents[2] / "samples" / "research.py"


@pytest.fixture
def data(drawn_data: Path, tmp_path: Path) -> Path:
    """Classes of all three splits: half of the validation classes become test classes."""
    root = tmp_path / "data"
    root.mkdir()
    listed = json.loads((drawn_data / "classes.json").read_text())
    held_out = [entry for entry in listed["classes"].values() if entry["split"] == "val"]
    for entry in held_out[::2]:
        entry["split"] = "test"
    for folder in listed["classes"]:
        (root / folder).symlink_to(drawn_data / folder)
    (root / "classes.json").write_text(json.dumps(listed))
    return root


def test_ten_lines_train_and_evaluate(data, tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("research", SAMPLE)
    assert spec is not None
    assert spec.loader is not None
    sample = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sample)
    record = sample.main(str(data), str(tmp_path / "run"), episodes=2, way=4)
    assert capsys.readouterr().out.startswith("frozen ")
    assert record.result.episodes == 1000
    assert 0 < record.result.accuracy < 1
    assert record.adapters_sha256 == maclip.Run.open(tmp_path / "run").adapters_sha256
