"""docs/scale.md has the figures that the command computes from what was measured."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.scale import Assumed, lines, read_measured, simulate

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
FACTS = json.loads((ROOT / "benchmarks" / "results" / "scale.json").read_text(encoding="utf-8"))


def test_the_table_is_the_result():
    for line in lines(FACTS):
        assert f"| {' | '.join(line)} |" in PAGE


def test_the_result_comes_from_what_was_measured_and_from_the_seed():
    measured, assumed = read_measured(), Assumed()
    assert FACTS["measured"] == asdict(measured)
    assert FACTS["assumed"] == asdict(assumed)
    row = next(row for row in FACTS["rows"] if row["cameras"] == 100)
    again = simulate(100, row["pooled_cores"], measured, assumed, FACTS["size"]["seconds"], FACTS["seed"])
    assert asdict(again) == pytest.approx(row["dispatched"])
