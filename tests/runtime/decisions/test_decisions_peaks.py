"""Events on drawn curves: where a class rises and falls once, one event, with the boundaries of the action."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from maclip_runtime.decisions import Answer, Decider, Decisions, Event
from maclip_runtime.streaming import Grid
from maclip_runtime.streaming.windows import OUTSIDE_SHARE

NAMES = ("a", "b", "c")
LIMIT = 8.0
GRID = Grid.of(8, 2.0, 0.5)  # windows of 2 s, one every half a second


@dataclass(frozen=True)
class Hill:
    """A class that looks like what happens from `start_s` to `end_s`; at best `height` below the limit."""

    label: str
    start_s: float
    end_s: float
    height: float = 4.0

    def distance(self, start_s: float, end_s: float) -> float:
        """Of a window: at the limit if `OUTSIDE_SHARE` of it lies outside."""
        inside_s = max(0.0, min(end_s, self.end_s) - max(start_s, self.start_s))
        short = 1 - OUTSIDE_SHARE - inside_s / (end_s - start_s)
        return LIMIT + (4 if short > 0 else self.height / OUTSIDE_SHARE) * short


def answers(
    hills: Sequence[Hill], seconds: float, *, noise: float = 0.0, seed: int = 0, names: tuple[str, ...] = NAMES
) -> list[Answer]:
    """One answer for each window; `noise`: standard deviation of the distances."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(int((seconds - GRID.window_s) / GRID.hop_s) + 1):
        start_s = number * GRID.hop_s
        far = [
            min([h.distance(start_s, start_s + GRID.window_s) for h in hills if h.label == name], default=LIMIT + 4)
            for name in names
        ]
        distances = np.array(far) + noise * rng.standard_normal(len(names))
        likely = np.exp(-distances) / np.exp(-distances).sum()
        made.append(
            Answer(
                names, distances.astype(np.float32), likely.astype(np.float32), np.full(len(names), LIMIT, np.float32)
            )
        )
    return made


def watch(
    made: Sequence[Answer], seconds: float, *, zero_at: float | None = None, **settings: float | bool
) -> list[Event]:
    """The events of a stream whose windows have these answers."""
    decider = Decider("cam", Decisions(**settings), reach_s=GRID.reach_s, window_s=GRID.window_s)  # type: ignore[arg-type]
    events, covered_s = [], 0.0
    for number, answer in enumerate(made):
        until_s = number * GRID.hop_s + (GRID.window_s + GRID.hop_s) / 2
        events += decider.push(answer, covered_s, until_s, zero_at)
        covered_s = until_s
    return events + decider.finish(seconds)


def found(hills: Sequence[Hill], seconds: float = 20.0, **settings: float | bool) -> list[Event]:
    """The ends of the actions that stood."""
    return stood(watch(answers(hills, seconds), seconds, **settings))


def stood(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event.kind == "end" and not event.reason and not event.withdrawn]


def labels(events: Sequence[Event]) -> list[str]:
    return [event.label for event in events]


@pytest.mark.parametrize("start_s", [3.0, 3.1, 3.3, 3.45])
@pytest.mark.parametrize("lasts_s", [2.3, 3.0, 6.0])
def test_one_hill_is_one_event_with_the_boundaries_of_the_action(start_s: float, lasts_s: float) -> None:
    (event,) = found([Hill("a", start_s, start_s + lasts_s)])
    assert event.label == "a"
    assert event.start_s == pytest.approx(start_s, abs=GRID.hop_s)
    assert event.end_s == pytest.approx(start_s + lasts_s, abs=GRID.hop_s)


def test_two_hills_of_one_class_are_two_events() -> None:
    for rest_s in (0.0, 1.0, 3.0):
        events = found([Hill("a", 3, 6), Hill("a", 6 + rest_s, 9 + rest_s)])
        assert labels(events) == ["a", "a"]
        assert events[0].end_s <= events[1].start_s


def test_an_action_that_dips_for_less_than_the_gap_is_one_event() -> None:
    made = answers([Hill("a", 3, 9)], 20)
    dip = made[9]
    made[9] = Answer(dip.names, dip.distances + np.float32(9), dip.probabilities, dip.limits)
    assert labels(stood(watch(made, 20))) == ["a"]
    assert labels(stood(watch(made, 20, gap_s=0.0))) == ["a", "a"]


def test_a_false_start_is_withdrawn_when_a_higher_hill_takes_its_time() -> None:
    hills = [Hill("a", 3.0, 6.0, height=2), Hill("b", 3.5, 6.5, height=5)]
    events = [event for event in watch(answers(hills, 20), 20) if not event.reason]
    kinds = [
        (event.kind, event.label, event.withdrawn) for event in events if event.kind != "update" or event.withdrawn
    ]
    assert kinds == [
        ("start", "a", False),
        ("update", "a", True),
        ("end", "a", True),
        ("start", "b", False),
        ("end", "b", False),
    ]


def test_a_lower_hill_beside_a_higher_one_is_not_reported() -> None:
    higher, lower = Hill("b", 3.0, 7.0, height=5), Hill("a", 4.0, 7.6, height=2)
    events = watch(answers([higher, lower], 20), 20)
    assert labels(stood(events)) == ["b"]
    assert "a" not in labels(events)


def test_with_overlap_both_are_reported_and_may_be_open_at_once() -> None:
    hills = [Hill("a", 3.0, 6.0, height=2), Hill("b", 3.5, 9.0, height=5)]
    assert labels(found(hills)) == ["b"]
    events = [event for event in watch(answers(hills, 20), 20, overlap=True) if not event.reason]
    assert sorted(labels(stood(events))) == ["a", "b"]
    assert not any(event.withdrawn for event in events)
    for end, hill in zip(sorted(stood(events), key=lambda event: event.label), hills, strict=True):
        assert (end.start_s, end.end_s) == pytest.approx((hill.start_s, hill.end_s), abs=GRID.hop_s)


def test_an_action_after_another_is_a_second_one_however_low() -> None:
    events = found([Hill("a", 3.0, 6.0, height=5), Hill("b", 6.0, 9.0, height=1)])
    assert labels(events) == ["a", "b"]
    assert events[0].end_s == pytest.approx(events[1].start_s, abs=GRID.hop_s)


def test_a_long_action_is_shortened_not_withdrawn_by_a_higher_one_at_its_end() -> None:
    events = found([Hill("a", 3.0, 11.0, height=2), Hill("b", 8.0, 12.0, height=5)])
    assert labels(events) == ["a", "b"]
    assert events[0].end_s <= events[1].start_s
    assert events[1].start_s == pytest.approx(8.0, abs=GRID.hop_s)


@pytest.mark.parametrize("seed", range(10))
def test_noise_changes_neither_number_nor_names(seed: int) -> None:
    hills = [Hill("a", 3.0, 6.0), Hill("b", 8.0, 11.0), Hill("a", 13.0, 16.0)]
    events = stood(watch(answers(hills, 20, noise=0.5, seed=seed), 20))
    assert labels(events) == ["a", "b", "a"]
    for event, hill in zip(events, hills, strict=True):
        assert (event.start_s, event.end_s) == pytest.approx((hill.start_s, hill.end_s), abs=2 * GRID.hop_s)


def test_the_start_comes_while_the_action_lasts_and_a_withdrawal_within_a_window_of_it() -> None:
    made = answers([Hill("a", 3.0, 6.0, height=2), Hill("b", 3.5, 6.5, height=5)], 20)
    decider = Decider("cam", Decisions(), reach_s=GRID.reach_s, window_s=GRID.window_s)
    told: dict[tuple[str, str], float] = {}
    covered_s = 0.0
    for number, answer in enumerate(made):
        until_s = number * GRID.hop_s + (GRID.window_s + GRID.hop_s) / 2
        for event in decider.push(answer, covered_s, until_s):
            told.setdefault((event.label, "withdrawn" if event.withdrawn else event.kind), number * GRID.hop_s + 2.0)
        covered_s = until_s
    assert told["a", "start"] <= 6.0
    assert told["b", "start"] <= 6.5
    assert told["a", "withdrawn"] - told["a", "start"] <= GRID.window_s


def test_a_class_that_vanishes_from_the_gallery_ends_with_its_last_window() -> None:
    whole = answers([Hill("a", 3.0, 12.0)], 20)
    without = answers([], 20, names=("b", "c"))
    (event,) = stood(watch([*whole[:12], *without[12:]], 20))
    assert event.label == "a"
    assert event.end_s == pytest.approx(whole_end_s(11), abs=GRID.hop_s)
    events = stood(watch([*whole[:9], *without[9:13], *whole[13:]], 20))
    assert labels(events) == ["a", "a"]


def whole_end_s(window: int) -> float:
    """Until when an action lasts whose last passing window is this one."""
    return window * GRID.hop_s + (1 - OUTSIDE_SHARE) * GRID.window_s


def random_answers(seed: int) -> list[Answer]:
    """Answers without any order: near and far, still, invalid, of galleries that change, with and without limits."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(80):
        kind = rng.random()
        if kind < 0.1:
            made.append(Answer.nothing(still=kind < 0.05, invalid=kind >= 0.05))
            continue
        names = NAMES if rng.random() < 0.8 else NAMES[1:] if rng.random() < 0.5 else ()
        distances = rng.uniform(LIMIT - 4, LIMIT + 2, len(names)).astype(np.float32)
        likely = np.exp(-distances) / max(np.exp(-distances).sum(), 1e-9)
        limits = np.full(len(names), math.inf if rng.random() < 0.1 else LIMIT, np.float32)
        made.append(Answer(names, distances, likely.astype(np.float32), limits))
    return made


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_measured_events_are_whole(seed: int, overlap: bool) -> None:
    made, seconds = random_answers(seed), 80 * GRID.hop_s + GRID.window_s
    events = watch(made, seconds, zero_at=1000.0, overlap=overlap)
    assert events == watch(made, seconds, zero_at=1000.0, overlap=overlap)
    assert [(e.kind, e.label, e.start_s, e.end_s) for e in events] == [
        (e.kind, e.label, e.start_s, e.end_s) for e in watch(made, seconds, overlap=overlap)
    ]  # a file and a camera alike
    open_labels: dict[str, str] = {}
    done: set[str] = set()
    for event in events:
        figures = (event.score, event.margin, event.match, event.start_s, event.end_s, event.started_at, event.ended_at)
        assert all(value is not None and math.isfinite(value) for value in figures)
        assert 0 <= event.start_s <= event.end_s <= seconds
        assert event.id not in done
        if event.kind == "start":
            assert event.label not in open_labels.values()
            open_labels[event.id] = event.label
            assert overlap or len(open_labels) == 1
        assert open_labels[event.id] == event.label
        assert event.kind != "start" or not event.withdrawn
        if event.kind == "end":
            del open_labels[event.id]
            done.add(event.id)
    assert not open_labels
    spans = sorted((e.start_s, e.end_s) for e in events if e.kind == "end" and not e.withdrawn)
    if not overlap:
        assert all(before[1] <= after[0] + 1e-6 for before, after in itertools.pairwise(spans))
