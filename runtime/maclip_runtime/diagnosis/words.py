"""Parts of the sentences of findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np

from maclip_runtime.diagnosis.report import LearningStep
from maclip_runtime.diagnosis.samples import Sample

MAX_NAMED = 8  # classes or clips that a sentence names


def brought(step: LearningStep) -> str:
    """A sentence: what one clip more brought here."""
    of = f"{counted(step.tested, 'clip')} of {counted(step.classes, 'class', 'classes')}"
    interval = step.gain_interval
    sure = f"95 % interval {interval[0]:+.0%} to {interval[1]:+.0%}" if interval else "no interval from so few"
    return (
        f"In this gallery {step.clips + 1} clips instead of {step.clips} took the right answers from "
        f"{step.accuracy:.0%} to {step.accuracy_next:.0%} ({sure}; {of})."
    )


def said(clip: Sample, *, small: bool = False) -> str:
    """A clip by its number and file; `small`: within a sentence."""
    return f"{'clip' if small else 'Clip'} {clip.id} ({short(clip.source)})"


def short(source: str) -> str:
    """The file name of a source."""
    return PurePath(source).name or source


def counted(count: int, one: str, several: str = "") -> str:
    """A number of things, in the singular or the plural."""
    return f"{count} {one if count == 1 else several or one + 's'}"


def quoted(names: Sequence[str]) -> str:
    """Names of classes, at most `MAX_NAMED` of them."""
    shown = ", ".join(map(repr, names[:MAX_NAMED]))
    return shown + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")


def times(odds: float) -> str:
    """How many times as likely, from the logarithm of the odds."""
    return f"{np.exp(odds):,.0f} times" if odds < np.log(1e4) else "more than 10,000 times"
