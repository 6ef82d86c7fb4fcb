"""The decisions over stored windows, as if their videos had been watched."""

from __future__ import annotations

from collections.abc import Iterator

from maclip_runtime.archive.view import View
from maclip_runtime.decisions import Decider, Decisions, Event
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.matching.index import CurrentIndex
from maclip_runtime.streaming import Grid, Pipeline
from maclip_runtime.streaming.pipeline import MAX_ROWS


def events_of(view: View, encoder: Encoder, index: CurrentIndex, decisions: Decisions) -> Iterator[Event]:
    """The events of each video of a view, one video after the other."""
    settings = view.settings
    grid = Grid(settings.frames, settings.window_s, settings.hop)
    pipeline = Pipeline(encoder, index, decisions)
    for place, kept in enumerate(view.videos):
        decider = Decider(kept.record.video.name, decisions, reach_s=grid.reach_s, window_s=grid.window_s)
        rows = view.rows_of(place)
        before = -1
        for start in range(0, len(rows), MAX_ROWS):
            some = rows[start : start + MAX_ROWS]
            for row, answer in zip(some.tolist(), pipeline.measure(view.features(some)), strict=True):
                number = int(view.number[row])
                lost_s = kept.lost.get(number)
                if lost_s is None and number != before + 1:  # those between are missing: nobody saw whether it went on
                    lost_s = float(view.times[row, 2])
                if lost_s is not None:
                    yield from decider.finish(lost_s)
                before = number
                _, end_s, from_s, to_s = view.times[row].tolist()
                yield from decider.push(answer, from_s, to_s, window_end_s=end_s)
        yield from decider.finish(kept.record.end_s)
