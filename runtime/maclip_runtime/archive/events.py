"""The decisions over stored windows, as if their videos had been watched."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from maclip_runtime.archive.fragments import Seconds
from maclip_runtime.archive.packing import Packing
from maclip_runtime.archive.view import Rows, Stored, View, features_of
from maclip_runtime.decisions import Decider, Decisions, Event
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.fleet import HERE, Fleet, in_order
from maclip_runtime.matching.index import Index
from maclip_runtime.streaming import Grid, Pipeline
from maclip_runtime.streaming.pipeline import MAX_ROWS


@dataclass(frozen=True)
class Watched:
    """A video's windows: their numbers [n] and times [n, 4], and where they lie, `MAX_ROWS` at a time."""

    name: str
    end_s: float | None
    lost: dict[int, float]
    number: Rows
    times: Seconds
    stored: Sequence[list[tuple[Rows, Stored]]]


@dataclass(frozen=True)
class AsItWas:
    """The index that a replay began with."""

    index: Index

    def in_stream(self) -> Index:
        """The index, whatever happens to the gallery meanwhile."""
        return self.index


@dataclass(frozen=True)
class Replay:
    """A job whose shares are videos and whose parts are lists of events."""

    encoder: Encoder
    index: Index
    decisions: Decisions
    grid: Grid
    width: int

    def parts(self, share: Watched, skip: int) -> Iterator[list[Event]]:
        """The events of each `MAX_ROWS` windows, and those at the end."""
        return islice(self._events(share), skip, None)

    def _events(self, video: Watched) -> Iterator[list[Event]]:
        grid = self.grid
        pipeline = Pipeline(self.encoder, AsItWas(self.index), self.decisions)
        packing = Packing(grid.frames, self.width)
        decider = Decider(video.name, self.decisions, reach_s=grid.reach_s, window_s=grid.window_s)
        before = -1
        for start, stored in zip(range(0, len(video.number), MAX_ROWS), video.stored, strict=True):
            number, times = video.number[start : start + MAX_ROWS], video.times[start : start + MAX_ROWS]
            events: list[Event] = []
            answers = pipeline.measure(features_of(stored, len(number), packing))
            for one, window, answer in zip(number.tolist(), times.tolist(), answers, strict=True):
                lost_s = video.lost.get(one)
                if lost_s is None and one != before + 1:  # those between are missing: nobody saw whether it went on
                    lost_s = window[2]
                if lost_s is not None:
                    events += decider.finish(lost_s)
                before = one
                _, end_s, from_s, to_s = window
                events += decider.push(answer, from_s, to_s, window_end_s=end_s)
            yield events
        yield decider.finish(video.end_s)


def events_of(view: View, encoder: Encoder, index: Index, decisions: Decisions, fleet: Fleet = HERE) -> Iterator[Event]:
    """The events of each video of a view, one video after the other; the workers of `fleet` replay a video each."""
    settings = view.settings
    grid = Grid(settings.frames, settings.window_s, settings.hop)
    bare = dataclasses.replace(index, groups={})  # who enrolled what is no part of an answer
    job = Replay(encoder, bare, decisions, grid, settings.width)
    for events in in_order(fleet, job, _watched(view)):
        yield from events


def _watched(view: View) -> Iterator[Watched]:
    for place, kept in enumerate(view.videos):
        rows = view.rows_of(place)
        stored = [view.places_of(rows[at : at + MAX_ROWS]) for at in range(0, len(rows), MAX_ROWS)]
        record = kept.record
        yield Watched(record.video.name, record.end_s, kept.lost, view.number[rows], view.times[rows], stored)
