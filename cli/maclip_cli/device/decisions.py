"""The options of `recognize` that decide when an answer counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip_runtime import Decisions

ANSWERS = "Answers and events"

# The help states defaults as text: reading them from `Decisions` would load numpy for every --help.
ScoreOption = Annotated[
    float,
    typer.Option("--min-score", min=0, max=1, help='Probability below which it is "unknown".', rich_help_panel=ANSWERS),
]
LimitOption = Annotated[
    float | None,
    typer.Option(
        "--limit",
        help='Distance above which it is "unknown"; default: measured on the gallery.',
        rich_help_panel=ANSWERS,
    ),
]
MarginOption = Annotated[
    float | None,
    typer.Option(
        "--margin",
        help='Probability by which a class must lead the next one, else it is "uncertain"; default: 0.0.',
        rich_help_panel=ANSWERS,
    ),
]
DurationOption = Annotated[
    float | None,
    typer.Option(
        "--min-duration",
        help="Seconds an answer must hold to be reported; default: 0.0.",
        rich_help_panel=ANSWERS,
    ),
]
GapOption = Annotated[
    float | None,
    typer.Option(
        "--gap",
        help="Seconds for which an action may fail to show before it has ended; default: half a window.",
        rich_help_panel=ANSWERS,
    ),
]
OverlapOption = Annotated[
    bool,
    typer.Option(
        "--overlap",
        help="Several actions may happen at once: each within its limit is reported, not only the best.",
        rich_help_panel=ANSWERS,
    ),
]
UpdatesOption = Annotated[
    str,
    typer.Option(
        "--updates",
        metavar="SECONDS|none",
        help="Seconds between two updates of an action that goes on, in every output; 0: one at each window.",
        rich_help_panel=ANSWERS,
    ),
]
NoUnknownOption = Annotated[
    bool,
    typer.Option("--no-unknown", help='Report no stretches of "unknown" and "uncertain".', rich_help_panel=ANSWERS),
]


def decisions_of(
    report_unknown: bool, updates: str = "0", *, overlap: bool = False, **numbers: float | None
) -> Decisions:
    """`Decisions` with the numbers that are not None, by field name; the others stay at their defaults.

    `updates` is as written on the command line. Raises `decisions-invalid`.
    """
    from maclip_runtime import Decisions

    given = {field: value for field, value in numbers.items() if value is not None}
    return Decisions(report_unknown=report_unknown, updates_s=_updates_s(updates), overlap=overlap, **given)


def _updates_s(text: str) -> float | None:
    """Seconds, or None for "none". Raises `decisions-invalid`."""
    if text.strip().lower() == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise MaclipError(
            "decisions-invalid", f"--updates {text!r} is no number of seconds.", "Give a number such as 10, or none."
        ) from None
