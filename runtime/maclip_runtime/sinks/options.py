"""Options of a sink."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from maclip_runtime import values

MAX_KEPT = 10_000  # older files: each rotation renames them all


@dataclass(frozen=True, kw_only=True)
class SinkOptions:
    """How a sink delivers. Raises `option-invalid`.

    max_bytes: for files, the size at which a file is renamed to PATH.1 (PATH.1 to PATH.2, and so on) and a new one is
        begun; default: 10 MB.
    keep: for files, how many such older files are kept; 1 or more, default: 5.
    actions: for MQTT, names the actions that there are now, which are announced to Home Assistant; None: nothing is.
    message_s: for `apprise://`, the least seconds between two messages about one source; default: 60.
    evidence: for `apprise://`, the folder of the strips that are attached; None: none are.
    """

    max_bytes: int = 10_000_000
    keep: int = 5
    actions: Callable[[], Sequence[str]] | None = None
    message_s: float = 60.0
    evidence: Path | None = None

    def __post_init__(self) -> None:
        for name, maximum in (("max_bytes", values.MAX_INTEGER), ("keep", MAX_KEPT)):
            object.__setattr__(self, name, values.whole(getattr(self, name), name, minimum=1, maximum=maximum))
        values.function(self.actions, "actions")
        object.__setattr__(self, "message_s", values.number(self.message_s, "message_s", minimum=0))
        if self.evidence is not None:
            object.__setattr__(self, "evidence", Path(values.path(self.evidence, "evidence")))


DEFAULTS = SinkOptions()
