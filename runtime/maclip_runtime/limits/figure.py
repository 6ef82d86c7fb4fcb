"""A calibration as a picture: for each class its own clips, the strangers, and the limit between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.limits.calibrate import Calibration

ROW_INCHES = 0.45
OWN, STRANGER, LIMIT = "#2a6fbb", "#c9712e", "#222222"
MAX_ROWS = 60  # classes shown, those with the most errors first


def draw(calibration: Calibration, file: Path) -> None:
    """Write the figure, PNG or what the suffix says. Raises `figures-missing`, `output-unwritable`."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MaclipError(
            "figures-missing",
            "Figures need matplotlib, which is not installed.",
            "pip install 'maclip[figures]'",
            EXIT_MACHINE_LACKS,
        ) from error
    rows = sorted(calibration.classes, key=lambda one: -(one.misses + one.accepted))[:MAX_ROWS][::-1]
    figure = Figure(figsize=(8, 1.4 + ROW_INCHES * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, one in enumerate(rows):
        # A little up and down, always the same, so that equal distances do not hide each other.
        for values, color, marker, at in ((one.strangers, STRANGER, "x", -0.13), (one.own, OWN, "o", 0.13)):
            shake = 0.08 * np.cos(np.arange(len(values)) * 2.4)
            axes.scatter(values, place + at + shake, s=16, color=color, marker=marker, linewidths=0.8, alpha=0.7)
        axes.plot([one.limit] * 2, [place - 0.38, place + 0.38], color=LIMIT, linewidth=2)
    axes.set_yticks(range(len(rows)), [_short(one.name) for one in rows], parse_math=False)
    axes.set_xlabel('distance; right of the bar the answer is "unknown"')
    axes.scatter([], [], s=16, color=OWN, label="the class's clips, each left out in turn")
    axes.scatter([], [], s=16, color=STRANGER, marker="x", label="strangers taken for it")
    axes.plot([], [], color=LIMIT, linewidth=2, label="limit")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    axes.grid(axis="x", alpha=0.3)
    try:
        figure.savefig(file, dpi=130)
    except (OSError, ValueError) as error:
        raise MaclipError(
            "output-unwritable", f"The figure {file} cannot be written ({error}).", "Give a .png or .svg in a folder."
        ) from error


def _short(name: str) -> str:
    return name if len(name) <= 32 else name[:31] + "…"
