"""What may be told while streams are watched: the overlay, the telemetry, a status line and benchmarks listen."""

from __future__ import annotations

from maclip_runtime.decisions import Event, Verdict
from maclip_runtime.sources import Frame, SourceStatus


class Listener:
    """Override what is of interest; each method does nothing.

    Called by the watching thread in the order of things, so a method returns at once: whoever needs longer
    hands over to a thread of its own. `source` is the source's name, without credentials.
    """

    def frame(self, source: str, frame: Frame) -> None:
        """A frame was taken from a source."""

    def verdict(self, source: str, verdict: Verdict, start_s: float, end_s: float) -> None:
        """A window was answered; the answer speaks for `start_s` to `end_s` of the source's time."""

    def event(self, event: Event) -> None:
        """An event happened."""

    def status(self, status: SourceStatus) -> None:
        """A source's state changed, or a second has passed."""

    def timing(self, stage: str, seconds: float) -> None:
        """One step took so long. Stages: "decode", "prepare", "stem", "tower", "visual", "match", "decide"."""
