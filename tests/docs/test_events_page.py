"""docs/events.md and the code agree: every key, its type, its unit, its example."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from maclip_cli.device.recognize import _print_clip
from maclip_runtime.decisions import Answer, Classification, Decisions, Event, match_of, verdict
from maclip_runtime.sinks import SCHEMA, event_record

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
TYPES = {
    "integer": (int,),
    "text": (str,),
    "text or null": (str, type(None)),
    "number": (int, float),
    "number or null": (int, float, type(None)),
    "object": (dict,),
    "true or false": (bool,),
}
Row = tuple[str, str, str]


def rows(part: str) -> dict[str, Row]:
    """Each key of a table: its type, its unit, its example."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("| `")]
    return {found[0].strip("`"): (found[1], found[2], found[3].strip("`")) for found in cells}


EVENTS, CLIPS = rows(PAGE.split("## Start")[0]), rows(PAGE.split("## Whole clips")[1].split("## When")[0])


def test_every_key_of_an_event_is_on_the_page_in_its_order() -> None:
    record = event_record(Event("start", "waving", 0.9, 0.5, 0.0, 1.0, "door"))
    assert list(EVENTS) == list(record)
    assert f"**Schema {SCHEMA}.**" in PAGE
    assert EVENTS["schema"][2] == str(SCHEMA)


def test_the_example_has_every_key_and_the_values_of_the_table() -> None:
    found = re.search(r"```json\n(.*)\n```", PAGE)
    assert found
    example = json.loads(found[1])
    assert list(example) == list(EVENTS)
    assert {key: json.loads(row[2]) for key, row in EVENTS.items()} == example
    event = Event(**{key: value for key, value in example.items() if key != "schema"})
    assert event_record(event) == example


def test_every_key_of_a_clip_is_on_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    far, likely, limits = (np.array(values, np.float32) for values in ([-8.4, 2.0], [0.97, 0.03], [0.9, 0.9]))
    answer = Answer(("waving", "jumping"), far, likely, limits)
    _print_clip(Classification.of(answer, Decisions(), source="clip.mp4", duration_s=2.6), as_json=True)
    written = json.loads(capsys.readouterr().out)
    assert list(CLIPS) == list(written)
    for key, (kind, _, example) in CLIPS.items():
        assert isinstance(written[key], TYPES[kind]), key
        assert isinstance(json.loads(example), TYPES[kind]), key


def test_types_and_units_are_those_of_the_fields() -> None:
    fields = {field.name: str(field.type) for field in dataclasses.fields(Event)}
    for key, (kind, unit, example) in EVENTS.items():
        assert isinstance(json.loads(example), TYPES[kind]), key
        if key in fields:
            assert ("null" in kind) == ("None" in fields[key]), key
        assert (unit == "seconds") == key.endswith("_s"), key
        assert (unit == "Unix seconds") == (key == "at" or key.endswith("_at")), key


def test_reasons_are_all_named() -> None:
    known = {verdict.DISTANCE, verdict.SCORE, verdict.MARGIN, verdict.STILL, verdict.EMPTY, verdict.INVALID}
    line = next(line for line in PAGE.splitlines() if line.startswith("| `reason`"))
    assert set(re.findall(r"`(\w+)`", line.split("no class:")[1])) == known


def test_the_formula_is_the_one_of_the_code() -> None:
    formulas = re.findall(r"match = (.*?)  ", PAGE)
    assert len(formulas) == 2
    for formula, limit in zip(formulas, (0.9, None), strict=True):
        for distance in (-8.4, 0.0, 0.9, 3.0):
            power = re.sub(r"e\^\(?([a-z\- ]+)\)?\)", r"exp(\1))", formula)
            names = {"distance": distance, "limit": limit, "exp": np.exp}
            assert eval(power, names) == pytest.approx(match_of(distance, limit))
    assert float(CLIPS["match"][2]) == round(match_of(-8.4, 0.9), 4)
