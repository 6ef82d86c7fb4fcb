"""One source on its way from frames to events."""

from __future__ import annotations

from maclip_runtime.decisions import Answer, Event, Smoother, Verdict
from maclip_runtime.sources import Frame
from maclip_runtime.streaming.cutter import Cutter, Step, Window


class Stream:
    """Cuts the frames of a source into windows and turns their answers into events. A loss ends what is open."""

    def __init__(self, cutter: Cutter, smoother: Smoother) -> None:
        self._cutter = cutter
        self._smoother = smoother

    @property
    def windows(self) -> int:
        """How many were cut so far."""
        return self._cutter.windows

    def add(self, frame: Frame) -> Step:
        """Take the next frame; the step is to be answered before the next."""
        return self._cutter.add(frame)

    def finish(self) -> Step:
        """The source has ended."""
        return self._cutter.finish()

    def lose(self, step: Step) -> list[Event]:
        """The events that end what was open before a loss; to be asked before the step's windows are decided."""
        return [] if step.lost_s is None else self._smoother.finish(step.lost_s)

    def decide(self, answer: Answer, window: Window) -> tuple[Verdict, list[Event]]:
        """The answer to a window, in order: what it comes to with those before it, and the events it causes."""
        events = self._smoother.push(answer, *window.covers_s)
        return self._smoother.verdict, events

    def end(self) -> list[Event]:
        """After the last answer: the events that end what is still open."""
        return self._smoother.finish(self._cutter.end_s)
