"""Pictures of results, as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maclip.evaluation.evaluator import Result

INCHES_A_CLASS = 0.28
SMALLEST_SHARE = 0.02  # less is not written into its square
MOST_WRITTEN = 40  # classes; with more, the squares are too small for figures


def confusion_figure(result: Result, path: Path) -> None:
    """The confusion matrix of `result`: shares of the queries of each true class, rows, by answer, columns."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = np.array(result.confusion, dtype=np.float64)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = max(4.0, INCHES_A_CLASS * len(counts))
    figure = Figure(figsize=(size + 3.5, size + 2.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(counts))
    # A name may hold any sign, also those of a formula.
    axes.set_xticks(places, result.names, rotation=45, ha="right", fontsize=7, parse_math=False)
    axes.set_yticks(places, result.names, fontsize=7, parse_math=False)
    axes.set_xlabel("answered")
    axes.set_ylabel("shown")
    for row, column in np.argwhere(shares >= SMALLEST_SHARE) if len(counts) <= MOST_WRITTEN else ():
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
