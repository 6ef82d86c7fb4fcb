"""When events start and end: gaps, durations, reasons."""

from __future__ import annotations

import time

import numpy as np
import pytest

from maclip_runtime.decisions import Answer, Decider, Decisions, Event, match_of

NAMES = ("a", "b")
PLAIN = {"min_duration_s": 0.0, "gap_s": 0.0}


def answer(a: float = 0.5, distance: float = 1.0, limit: float = 2.0, names: tuple[str, ...] = NAMES) -> Answer:
    """One window: probability `a` for "a", the rest for "b", both `distance` away."""
    likely = np.array([a, 1 - a, *[0.0] * (len(names) - 2)], np.float32)
    return Answer(
        names, np.full(len(names), distance, np.float32), likely[: len(names)], np.full(len(names), limit, np.float32)
    )


WINDOWS = {"a": answer(0.9), "b": answer(0.1), "-": answer(0.9, distance=3.0), "s": Answer.nothing(still=True)}


def run(labels: str, **settings: float | bool) -> list[Event]:
    """One window for each letter ("-" is too far, "s" still), one second each."""
    decider = Decider("cam", Decisions(**{**PLAIN, **settings}))  # type: ignore[arg-type]
    events = []
    for second, letter in enumerate(labels):
        events += decider.push(WINDOWS[letter], second, second + 1)
    return events + decider.finish(len(labels))


def scored(values: list[float], **settings: float | bool) -> list[Event]:
    """One window of one second for each probability of "a"."""
    decider = Decider("cam", Decisions(**{**PLAIN, **settings}))  # type: ignore[arg-type]
    events = [e for second, a in enumerate(values) for e in decider.push(answer(a), second, second + 1)]
    return events + decider.finish(len(values))


def spans(events: list[Event]) -> list[tuple[str, float, float]]:
    return [(event.label, event.start_s, event.end_s) for event in events if event.kind == "end"]


def test_events_follow_the_answers() -> None:
    events = run("aaabb")
    assert [(event.kind, event.label) for event in events] == [
        ("start", "a"),
        ("update", "a"),
        ("update", "a"),
        ("end", "a"),
        ("start", "b"),
        ("update", "b"),
        ("end", "b"),
    ]
    assert spans(events) == [("a", 0, 3), ("b", 3, 5)]
    assert {(event.source, event.reason, event.at) for event in events} == {("cam", "", None)}


def test_a_gap_bridges_one_odd_window() -> None:
    assert len(spans(run("aaabaaa"))) == 3
    # "b" is no better than "a", but it does not take the time of "a" either: see test_decisions_peaks.py.
    assert spans(run("aaa-aaa")) == [("a", 0, 3), ("unknown", 3, 4), ("a", 4, 7)]
    assert spans(run("aaa-aaa", gap_s=1.0)) == [("a", 0, 7)]


def test_surer_action_takes_over() -> None:
    assert spans(scored([0.9, 0.2, 0.2])) == [("a", 0, 1), ("b", 1, 3)]


def test_open_action_needs_no_margin_to_go_on() -> None:
    assert [label for label, *_ in spans(scored([0.9, 0.52, 0.52], min_margin=0.3))] == ["a"]
    assert [label for label, *_ in spans(scored([0.52, 0.52], min_margin=0.3))] == ["uncertain"]


def test_short_stretches_are_not_reported() -> None:
    assert spans(run("--ab--aaa", min_duration_s=2.0, report_unknown=False)) == [("a", 6, 9)]
    started = next(event for event in run("-aaa-", min_duration_s=2.0) if event.label == "a")
    assert (started.kind, started.start_s, started.end_s) == ("start", 1, 3)


def test_an_action_that_pauses_for_less_than_the_gap_goes_on() -> None:
    assert [s for s in spans(run("a-a--a", gap_s=1.0)) if s[0] == "a"] == [("a", 0, 3), ("a", 5, 6)]
    assert spans(run("a-a--a", gap_s=2.0)) == [("a", 0, 6)]
    assert ("b", 1, 2) in spans(run("aba", gap_s=1.0))


def test_unknown_is_reported_without_updates() -> None:
    events = run("---aa--")
    unknown = [(event.kind, event.reason) for event in events if event.label == "unknown"]
    assert unknown == [("start", "distance"), ("end", "distance")] * 2
    assert spans(events) == [("unknown", 0, 3), ("a", 3, 5), ("unknown", 5, 7)]
    assert spans(run("---aa--", report_unknown=False)) == [("a", 3, 5)]


def test_still_picture_is_unknown_for_that_reason() -> None:
    events = run("aassss--")
    assert [(e.label, e.reason, e.start_s) for e in events if e.kind == "start"] == [
        ("a", "", 0),
        ("unknown", "still", 2),
        ("unknown", "distance", 6),
    ]


def test_short_stillness_ends_nothing_within_the_gap() -> None:
    assert spans(run("aasaa", gap_s=1.0)) == [("a", 0, 5)]
    assert [label for label, *_ in spans(run("aassaa", gap_s=1.0))] == ["a", "unknown", "a"]


def test_single_window_counts_however_short() -> None:
    assert spans(run("a", min_duration_s=9.0)) == [("a", 0, 1)]
    assert spans(run("ab", min_duration_s=9.0)) == []


def test_what_is_open_ends_with_its_source_and_is_forgotten() -> None:
    decider = Decider("cam", Decisions(**PLAIN))  # type: ignore[arg-type]
    decider.push(WINDOWS["a"], 0, 1)
    assert spans(decider.finish(1.5)) == [("a", 0, 1.5)]
    (start,) = decider.push(WINDOWS["b"], 4, 5)
    assert (start.kind, start.label, start.score) == ("start", "b", pytest.approx(0.9))


def test_classes_may_come_and_go_in_mid_stream() -> None:
    decider = Decider("cam", Decisions(**PLAIN))  # type: ignore[arg-type]
    decider.push(answer(0.9), 0, 1)
    (update,) = decider.push(answer(0.7, names=("a", "b", "c")), 1, 2)
    assert (update.label, update.score) == ("a", pytest.approx(0.7))
    without = Answer(("b", "c"), *(np.full(2, value, np.float32) for value in (1.0, 0.5, 2.0)))
    end, start = decider.push(without, 2, 3)
    assert (end.kind, end.label, start.kind, start.label) == ("end", "a", "start", "b")
    end, start = decider.push(Answer.nothing(), 3, 4)
    assert (end.label, start.label, start.reason) == ("b", "unknown", "empty")


def test_end_has_the_mean_score() -> None:
    *_, end = scored([0.6, 0.8, 1.0])
    assert (end.score, end.margin) == pytest.approx((0.8, 0.6))


def test_events_of_live_sources_are_placed_in_time() -> None:
    decider = Decider("cam", Decisions(**PLAIN))  # type: ignore[arg-type]
    before = time.time()
    # The camera's clock drifts: second 0 was at 1000, then at 1000.5.
    events = [
        *decider.push(WINDOWS["a"], 10, 11, 1000.0),
        *decider.push(WINDOWS["a"], 11, 12, 1000.5),
        *decider.finish(12.5),
    ]
    assert [event.kind for event in events] == ["start", "update", "end"]
    assert [event.started_at for event in events] == [1010.0] * 3
    assert [event.ended_at for event in events] == [1011.0, 1012.5, 1013.0]
    assert all(before <= event.at <= time.time() for event in events if event.at)
    assert all(event.at for event in events)


def test_a_stream_that_is_lost_ends_by_its_own_clock() -> None:
    """Also where the frame that shows the loss has a new one."""
    decider = Decider("cam", Decisions(**PLAIN))  # type: ignore[arg-type]
    decider.push(WINDOWS["a"], 10, 11, 1000.0)
    (end,) = decider.finish(11.5)
    (start,) = decider.push(WINDOWS["a"], 0, 1, 5000.0)
    assert (end.ended_at, start.started_at) == (1011.5, 5000.0)


def test_a_machine_s_clock_that_is_set_back_ends_nothing_before_it_began() -> None:
    decider = Decider("cam", Decisions(**PLAIN))  # type: ignore[arg-type]
    decider.push(WINDOWS["a"], 10, 11, 1000.0)
    (update,) = decider.push(WINDOWS["a"], 11, 12, -1000.0)
    assert (update.started_at, update.ended_at) == (1010.0, 1010.0)


def test_events_of_files_are_not() -> None:
    assert {(event.started_at, event.ended_at, event.at) for event in run("aab")} == {(None, None, None)}


def test_an_id_is_shared_by_a_start_its_updates_and_its_end_only() -> None:
    events = [*run("aaba"), *run("aaba")]
    ids = [event.id for event in events if event.kind == "start"]
    assert len(set(ids)) == len(ids) == 6
    assert all(ids)
    open_id = ""
    for event in events:
        open_id = event.id if event.kind == "start" else open_id
        assert event.id == open_id


@pytest.mark.parametrize(
    ("every", "updated"), [(0.0, [2, 3, 4, 5, 6]), (1.0, [2, 3, 4, 5, 6]), (2.0, [3, 5]), (2.5, [4]), (None, [])]
)
def test_updates_are_thinned(every: float | None, updated: list[float]) -> None:
    events = run("aaaaaa", updates_s=every)  # type: ignore[arg-type]
    assert [event.end_s for event in events if event.kind == "update"] == updated
    assert [event.kind for event in events if event.kind != "update"] == ["start", "end"]


def test_thinned_updates_begin_anew_with_each_action() -> None:
    events = run("aaabbb", updates_s=2.0)
    assert [(event.kind, event.label, event.end_s) for event in events if event.kind == "update"] == [
        ("update", "a", 3),
        ("update", "b", 6),
    ]


def test_events_say_how_well_the_distance_matches() -> None:
    decider = Decider("cam", Decisions(**PLAIN))  # type: ignore[arg-type]
    distances = [1.0, 2.0, 1.5]  # the limit is 2
    events = [e for s, far in enumerate(distances) for e in decider.push(answer(0.9, far), s, s + 1)]
    events += decider.finish(3)
    matches = [match_of(far, 2.0) for far in distances]
    assert [event.match for event in events] == pytest.approx([*matches, sum(matches) / 3])
    assert decider.verdict.match == match_of(1.5, 2.0)


def test_a_clock_that_goes_back_forgets_when_actions_ended() -> None:
    decider = Decider("cam", Decisions(**{**PLAIN, "gap_s": 0.5}))  # type: ignore[arg-type]
    found = []
    for _ in range(2):
        events = [e for s, letter in enumerate("aba") for e in decider.push(WINDOWS[letter], s, s + 1)]
        found.append(spans(events + decider.finish(3)))
    assert found[0] == found[1] == [("a", 0, 1), ("b", 1, 2), ("a", 2, 3)]
