"""Options of a sink."""

from __future__ import annotations

from dataclasses import dataclass

from maclip_runtime import values

MAX_KEPT = 10_000  # older files: each rotation renames them all


@dataclass(frozen=True, kw_only=True)
class SinkOptions:
    """How a sink writes; both options concern files. Raises `option-invalid`.

    max_bytes: size at which a file is renamed to PATH.1 (PATH.1 to PATH.2, and so on) and a new one is begun.
    keep: how many such older files are kept; 1 or more.
    """

    max_bytes: int = 10_000_000
    keep: int = 5

    def __post_init__(self) -> None:
        for name, maximum in (("max_bytes", values.MAX_INTEGER), ("keep", MAX_KEPT)):
            object.__setattr__(self, name, values.whole(getattr(self, name), name, minimum=1, maximum=maximum))


DEFAULTS = SinkOptions()
