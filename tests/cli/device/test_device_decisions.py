"""The numbers of `Decisions` on the command line."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import pytest

from maclip_cli.device.decisions import decisions_of
from maclip_cli.device.recognize import recognize
from maclip_runtime import Decisions

FIELDS = {
    "margin": "min_margin",
    "min_duration": "min_duration_s",
}


def help_of(parameter: str) -> str:
    annotation: Any = inspect.signature(recognize, eval_str=True).parameters[parameter].annotation
    return str(annotation.__metadata__[0].help)


@pytest.mark.parametrize(("parameter", "field"), FIELDS.items())
def test_help_states_the_default(parameter: str, field: str) -> None:
    stated = re.search(r"default: ([\d.]+)\.$", help_of(parameter))
    assert stated
    assert float(stated[1]) == getattr(Decisions(), field)


def test_every_number_has_an_option() -> None:
    beside = {
        **{name: name for name in ("min_score", "limit", "overlap")},
        "gap_s": "gap",
        "report_unknown": "no_unknown",
        "updates_s": "updates",
    }
    assert {*FIELDS.values(), *beside} == {field.name for field in dataclasses.fields(Decisions)}
    assert {*FIELDS, *beside.values()} <= set(inspect.signature(recognize).parameters)


def test_what_is_not_given_stays_at_its_default() -> None:
    made = decisions_of(False, min_margin=0.2, gap_s=None)
    assert made == Decisions(min_margin=0.2, report_unknown=False)


def test_overlap_is_off_unless_asked_for() -> None:
    assert not decisions_of(True).overlap
    assert decisions_of(True, overlap=True).overlap
