"""Figures of results as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maclip.evaluation.evaluator import Result

INCHES_PER_CLASS = 0.28
MIN_LABELLED_SHARE = 0.02  # smaller shares get no number in their cell
MAX_LABELLED_CLASSES = 40  # with more classes, cells are too small for numbers


def confusion_figure(result: Result, path: Path) -> None:
    """Plot the confusion matrix of `result` to a PNG file: true classes in rows, shares of each answer in columns."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = np.array(result.confusion, dtype=np.float64)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = max(4.0, INCHES_PER_CLASS * len(counts))
    figure = Figure(figsize=(size + 3.5, size + 2.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(counts))
    # Names may contain the characters of math text.
    axes.set_xticks(places, result.names, rotation=45, ha="right", fontsize=7, parse_math=False)
    axes.set_yticks(places, result.names, fontsize=7, parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    for row, column in np.argwhere(shares >= MIN_LABELLED_SHARE) if len(counts) <= MAX_LABELLED_CLASSES else ():
        share = shares[row, column]
        axes.text(
            column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=6, color="w" if share > 0.5 else "k"
        )
    axes.set_title(
        f"{result.way}-way {result.shot}-shot: {result.accuracy:.1%} ± {result.interval:.1%} of {result.episodes:,} "
        "episodes (in %)",
        fontsize=9,
    )
    figure.colorbar(picture, shrink=0.6)
    figure.savefig(path, format="png", dpi=130)
