"""The numbers of `Decisions` on the command line."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import pytest

from maclip_cli.device.decisions import decisions_of
from maclip_cli.device.recognize import recognize
from maclip_runtime import Decisions, MaclipError

FIELDS = {
    "margin": "min_margin",
    "smoothing": "smoothing_s",
    "enter": "enter_score",
    "exit_": "exit_score",
    "min_duration": "min_duration_s",
    "cooldown": "cooldown_s",
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
    beside = {"min_score": "min_score", "limit": "limit", "report_unknown": "no_unknown", "updates_s": "updates"}
    assert {*FIELDS.values(), *beside} == {field.name for field in dataclasses.fields(Decisions)}
    assert {*FIELDS, *beside.values()} <= set(inspect.signature(recognize).parameters)


def test_what_is_not_given_stays_at_its_default() -> None:
    made = decisions_of(False, min_margin=0.2, smoothing_s=None)
    assert made == Decisions(min_margin=0.2, report_unknown=False)


def test_exit_alone_is_possible() -> None:
    made = decisions_of(True, exit_score=0.4, enter_score=None)
    assert (made.enter_score, made.exit_score) == (0.4, 0.4)
    with pytest.raises(MaclipError, match="above enter_score"):
        decisions_of(True, exit_score=0.4, enter_score=0.3)
