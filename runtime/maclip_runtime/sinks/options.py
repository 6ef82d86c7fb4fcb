"""Options of a sink."""

from __future__ import annotations

from dataclasses import dataclass

from maclip_runtime.errors import MaclipError


@dataclass(frozen=True, kw_only=True)
class SinkOptions:
    """How a sink writes; both options concern files. Raises `option-invalid`.

    max_bytes: size at which a file is renamed to PATH.1 (PATH.1 to PATH.2, and so on) and a new one is begun.
    keep: how many such older files are kept; 1 or more.
    """

    max_bytes: int = 10_000_000
    keep: int = 5

    def __post_init__(self) -> None:
        for name, value in (("max_bytes", self.max_bytes), ("keep", self.keep)):
            if value < 1:
                raise MaclipError("option-invalid", f"{name} is {value}.", "Give 1 or more.")


DEFAULTS = SinkOptions()
