"""Options of evidence."""

from __future__ import annotations

from dataclasses import dataclass

from maclip_runtime import values

MAX_SECONDS = 120.0  # of a clip: its frames are kept in memory until it is written
MAX_RATE = 30.0


@dataclass(frozen=True, kw_only=True)
class EvidenceOptions:
    """How much evidence is kept. Raises `option-invalid`.

    pre_s: seconds of a clip before the action begins; default: 2.
    post_s: seconds after it has ended; default: 1.
    max_s: the longest clip in seconds; of a longer action its beginning is kept; default: 15.
    rate: frames a second; default: 8.
    side: px of the longer side of a frame; default: 640.
    max_bytes: of the folder; the oldest evidence is removed beyond it; default: 1 GB.
    max_days: the age at which evidence is removed; default: 30.
    """

    pre_s: float = 2.0
    post_s: float = 1.0
    max_s: float = 15.0
    rate: float = 8.0
    side: int = 640
    max_bytes: int = 1_000_000_000
    max_days: float = 30.0

    def __post_init__(self) -> None:
        plain: dict[str, object] = {
            "pre_s": values.number(self.pre_s, "pre_s", minimum=0, maximum=MAX_SECONDS),
            "post_s": values.number(self.post_s, "post_s", minimum=0, maximum=MAX_SECONDS),
            "max_s": values.number(self.max_s, "max_s", above=0, maximum=MAX_SECONDS),
            "rate": values.number(self.rate, "rate", above=0, maximum=MAX_RATE),
            "side": values.whole(self.side, "side", minimum=16, maximum=4096),
            "max_bytes": values.whole(self.max_bytes, "max_bytes", minimum=1),
            "max_days": values.number(self.max_days, "max_days", above=0, maximum=36500),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)


DEFAULTS = EvidenceOptions()
