"""`maclip-run bench`: steps are split into their stages rightly, and each measuring process measures what it says."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from maclip_runtime import MaclipError
from maclip_runtime.decisions import Verdict
from maclip_runtime.tools.bench import stream
from maclip_runtime.tools.bench.classes import match
from maclip_runtime.tools.bench.cold import first_answer
from maclip_runtime.tools.bench.result import OTHER
from maclip_runtime.tools.bench.stream import Enough, StepClock
from maclip_runtime.tools.measuring.child import run_alone

ANSWER = Verdict("a", "a", 1.0, 0.0, 1.0)

ONE_THREAD = {"device": "cpu", "threads": 1}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the step clock sees."""
    now = [0.0]
    monkeypatch.setattr(stream.time, "perf_counter", lambda: now[0])
    return now


def test_step_is_what_happens_between_two_answers(clock: list[float]) -> None:
    steps = StepClock(seconds=100.0)
    for _ in range(stream.WARM_STEPS + 3):
        for stage, seconds in (("decode", 0.5), ("decode", 0.5), ("stem", 2.0), ("tower", 3.0)):
            steps.timing(stage, seconds)
        clock[0] += 7.0
        steps.verdict("camera", ANSWER, 0.0, 1.0)
    assert len(steps.steps) == steps.answers == 3  # those of the warm-up do not count
    assert steps.steps[0] == {"decode": 1.0, "stem": 2.0, "tower": 3.0, OTHER: 1.0}
    assert steps.seconds == 21.0


def test_first_answer_of_a_source_ends_no_step(clock: list[float]) -> None:
    steps = StepClock(seconds=1e6)
    for _ in range(stream.WARM_STEPS):
        steps.verdict("camera", ANSWER, 0.0, 1.0)
    steps.restart()
    clock[0] += 1000.0  # a whole window of video had to come first
    steps.verdict("camera", ANSWER, 0.0, 1.0)
    assert steps.steps == []
    clock[0] += 1.0
    steps.verdict("camera", ANSWER, 0.0, 1.0)
    assert steps.steps == [{OTHER: 1.0}]


def test_watching_ends_when_the_time_is_over(clock: list[float]) -> None:
    steps = StepClock(seconds=2.5)
    for _ in range(stream.WARM_STEPS + 2):
        clock[0] += 1.0
        steps.verdict("camera", ANSWER, 0.0, 1.0)
    clock[0] += 1.0
    with pytest.raises(Enough):
        steps.verdict("camera", ANSWER, 0.0, 1.0)
    assert len(steps.steps) == 3


def test_errors_of_another_process_are_told_in_this_one(tmp_path: Path) -> None:
    with pytest.raises(MaclipError, match="is not a bundle") as caught:
        run_alone(match, str(tmp_path), 1, {"device": "cpu"})
    assert caught.value.code == "bundle-missing"
    with pytest.raises(MaclipError, match="TypeError") as caught:
        run_alone(match, "red")
    assert caught.value.code == "bench-failed"
    assert caught.value.exit_code == 1


def test_matching_is_measured_at_the_size_that_was_asked_for(bundle: Path) -> None:
    few, many = (run_alone(match, str(bundle), count, ONE_THREAD) for count in (1, 20_000))
    assert many["arrays_mib"] == pytest.approx(20_000 * few["arrays_mib"])
    assert many["match"]["p50"] > 5 * few["match"]["p50"]
    assert few["grown_mib"] is None or many["grown_mib"] > many["arrays_mib"]


def test_cold_start_is_taken_apart_without_a_rest(bundle: Path, enrolled: Path, clips: Path) -> None:
    begun = time.monotonic()
    found = run_alone(first_answer, str(bundle), str(enrolled), str(clips / "red3.mp4"), ONE_THREAD)
    whole = time.monotonic() - begun
    assert list(found["parts_s"])[:3] == ["python", "imports", "bundle check"]
    assert all(seconds >= 0 for seconds in found["parts_s"].values())
    assert whole / 3 < sum(found["parts_s"].values()) <= whole  # what is left is the end of the process
