"""Runs a command of `benchmarks/` at its smallest size and reads its figures."""

from __future__ import annotations

import importlib
import io
import json
import math
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import torch

ROOT = Path(__file__).parents[2]


def run(name: str, folder: Path, *options: object) -> dict[str, Any]:
    """The JSON of one command, called in this process, which must print a table and write nothing else."""
    out = folder / f"{name}.json"
    command = importlib.import_module(f"benchmarks.{name}")
    argv = [name, *map(str, options), "--smallest", "--json", str(out)]
    printed, threads = io.StringIO(), torch.get_num_threads()
    with mock.patch.object(sys, "argv", argv), redirect_stdout(printed):
        assert not command.main()
    torch.set_num_threads(threads)
    assert "─" in printed.getvalue()
    facts: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    assert facts["machine"]["cores"] >= 1
    assert facts["machine"]["libraries"]["numpy"]
    assert all(math.isfinite(number) for number in numbers(facts))
    committed = ROOT / "benchmarks" / "results" / f"{name}.json"
    if committed.is_file():  # whoever reads the one can read the other
        assert set(json.loads(committed.read_text(encoding="utf-8"))) <= set(facts)
    return facts


def numbers(value: Any) -> Iterator[float]:
    """Every number in a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, int | float):
        yield value
