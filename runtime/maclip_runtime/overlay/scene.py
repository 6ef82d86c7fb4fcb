"""What is known of a source at one moment: the last answers and events, and nothing that comes later."""

from __future__ import annotations

from dataclasses import dataclass, replace

from maclip_runtime.decisions import UNCERTAIN, UNKNOWN, Event, Verdict

TIMELINE_SECONDS = 30.0  # of the past are shown


@dataclass(frozen=True)
class Span:
    """A label over `start_s` to `end_s` of the source's time. `going_on`: its end is not known yet.

    `tone` numbers the labels in the order in which they came; None for those that are no class.
    """

    label: str
    score: float
    start_s: float
    end_s: float
    tone: int | None
    going_on: bool = False


@dataclass(frozen=True)
class Scene:
    """The last windows' answers and the last events, oldest first.

    `since_s`: when the source last came back; what was answered before says nothing of now.
    """

    answers: tuple[Span, ...] = ()
    events: tuple[Span, ...] = ()
    since_s: float = 0.0

    @property
    def headline(self) -> tuple[Span, bool] | None:
        """What to say of now, and whether an event stands behind it; None before the first."""
        for event in reversed(self.events):
            if event.going_on:
                return event, True
        if self.answers and self.answers[-1].end_s > self.since_s:
            return self.answers[-1], False
        return None


class Story:
    """Makes a source's `scene` from what callbacks are told."""

    def __init__(self) -> None:
        self.scene = Scene()
        self._tones: dict[str, int] = {}

    def restarted(self, time_s: float) -> None:
        """The source was lost and is back, at `time_s`."""
        self.scene = replace(self.scene, since_s=time_s)

    def verdict(self, verdict: Verdict, start_s: float, end_s: float) -> None:
        """A window was answered."""
        span = Span(verdict.label, verdict.score, start_s, end_s, self._tone(verdict.label))
        answers = (*self._recent(self.scene.answers, end_s), span)
        # Not every event that goes on is updated: "unknown" is not.
        events = tuple(
            replace(event, end_s=max(event.end_s, end_s)) if event.going_on and event.label == span.label else event
            for event in self.scene.events
        )
        self.scene = replace(self.scene, answers=answers, events=events)

    def event(self, event: Event) -> None:
        """An event began, goes on or ended."""
        going_on = event.kind != "end"
        span = Span(event.label, event.score, event.start_s, event.end_s, self._tone(event.label), going_on)
        others = tuple(other for other in self.scene.events if not (other.going_on and other.label == event.label))
        self.scene = replace(self.scene, events=(*self._recent(others, event.end_s), span))

    @staticmethod
    def _recent(spans: tuple[Span, ...], now_s: float) -> tuple[Span, ...]:
        return tuple(span for span in spans if span.going_on or span.end_s > now_s - 2 * TIMELINE_SECONDS)

    def _tone(self, label: str) -> int | None:
        if label in {UNKNOWN, UNCERTAIN}:
            return None
        return self._tones.setdefault(label, len(self._tones))
