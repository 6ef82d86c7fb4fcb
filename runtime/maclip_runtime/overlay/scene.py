"""The state of a source at one moment: its latest answers and events."""

from __future__ import annotations

from dataclasses import dataclass, replace

from maclip_runtime.decisions import UNCERTAIN, UNKNOWN, Event, Verdict

TIMELINE_SECONDS = 30.0


@dataclass(frozen=True)
class Span:
    """A label from `start_s` to `end_s` of the source's time; `going_on` while its end is unknown.

    `match` says how well the distance fits (see `decisions.match_of`). `tone` numbers the labels in order of
    appearance; None for labels that are not classes.
    """

    label: str
    match: float
    start_s: float
    end_s: float
    tone: int | None
    going_on: bool = False


@dataclass(frozen=True)
class Scene:
    """The latest answers and events, oldest first.

    `since_s` is when the source last reconnected; answers from before are outdated.
    """

    answers: tuple[Span, ...] = ()
    events: tuple[Span, ...] = ()
    since_s: float = 0.0

    @property
    def headline(self) -> tuple[Span, bool] | None:
        """The current label, and whether it belongs to an event; None before the first answer."""
        for event in reversed(self.events):
            if event.going_on:
                return event, True
        if self.answers and self.answers[-1].end_s > self.since_s:
            return self.answers[-1], False
        return None


class SceneTracker:
    """Makes a source's `scene` from what callbacks are told."""

    def __init__(self) -> None:
        self.scene = Scene()
        self._tones: dict[str, int] = {}

    def restarted(self, time_s: float) -> None:
        """The source reconnected at `time_s`."""
        self.scene = replace(self.scene, since_s=time_s)

    def verdict(self, verdict: Verdict, start_s: float, end_s: float) -> None:
        """A window was answered."""
        span = Span(verdict.label, verdict.match, start_s, end_s, self._tone(verdict.label))
        answers = (*self._recent(self.scene.answers, end_s), span)
        # Updates of an event may be few, and "unknown" has none, so answers extend it.
        events = tuple(
            replace(event, end_s=max(event.end_s, end_s), match=span.match)
            if event.going_on and event.label == span.label
            else event
            for event in self.scene.events
        )
        self.scene = replace(self.scene, answers=answers, events=events)

    def event(self, event: Event) -> None:
        """An event started, continued, ended or was withdrawn, which removes it."""
        others = self._recent(
            tuple(one for one in self.scene.events if not (one.going_on and one.label == event.label)), event.end_s
        )
        if event.withdrawn:
            self.scene = replace(self.scene, events=others)
            return
        going_on = event.kind != "end"
        span = Span(event.label, event.match, event.start_s, event.end_s, self._tone(event.label), going_on)
        self.scene = replace(self.scene, events=(*others, span))

    @staticmethod
    def _recent(spans: tuple[Span, ...], now_s: float) -> tuple[Span, ...]:
        return tuple(span for span in spans if span.going_on or span.end_s > now_s - 2 * TIMELINE_SECONDS)

    def _tone(self, label: str) -> int | None:
        if label in {UNKNOWN, UNCERTAIN}:
            return None
        return self._tones.setdefault(label, len(self._tones))
