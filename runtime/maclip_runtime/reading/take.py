"""A clip in memory, as a recording or a program hands it in."""

from __future__ import annotations

from dataclasses import dataclass

from maclip_runtime.reading.frames import Pixels
from maclip_runtime.redaction import redact


@dataclass(frozen=True)
class Take:
    """One clip in memory.

    Attributes:
        frames: uint8 [N, H, W, 3] RGB.
        duration_s: how long the clip lasts, in seconds.
        source: where it comes from; an address loses its credentials.
        prepared: whether the frames have been through `frames.prepare` already.
    """

    frames: Pixels
    duration_s: float
    source: str
    prepared: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", redact(self.source))
