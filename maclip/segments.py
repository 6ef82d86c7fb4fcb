"""When an action happens in a video."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """The action `name` lasts from `start_s` to `end_s`, in seconds from the video's first frame."""

    name: str
    start_s: float
    end_s: float
