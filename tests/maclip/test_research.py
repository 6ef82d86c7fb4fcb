"""samples/research.py is the API for research in ten lines, research.ipynb a notebook; they run as they stand."""

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


def test_the_notebook_runs_from_its_first_cell_to_its_last(data, tmp_path, monkeypatch, capsys):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    notebook = json.loads(SAMPLE.with_suffix(".ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    sizes = "EPISODES, EVALUATED, WAY, SHOT = "
    small = [("clips/motion", str(data)), (f"{sizes}200, 1000, 5, 1", f"{sizes}2, 20, 4, 1")]
    for long, short in small:
        assert long in code[0]
        code[0] = code[0].replace(long, short)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for cell in code:
        exec(compile(cell, "research.ipynb", "exec"), names)
    said = capsys.readouterr().out
    assert "frozen " in said
    assert "most often taken for" in said
    matplotlib.pyplot.close("all")
