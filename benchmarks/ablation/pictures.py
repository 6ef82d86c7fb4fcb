"""The ablation's charts: the accuracy of every row, and validation accuracy during training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.ablation.cells import FAMILIES, SHOTS, SPLITS, WAY, Cells
from benchmarks.ablation.claims import accuracy
from benchmarks.ablation.rows import SHOWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, DPI = 8.0, 110  # inches and dots an inch: 880 pixels
COLOURS = {1: "#9db8d9", 5: "#2f5d94"}  # by shot
CURVES = dict(zip(FAMILIES, ("#2f5d94", "#c9722b"), strict=True))
ROW_INCHES = 0.34
PANELS = 4  # learning curves side by side
CELLS_KEY = "Cells"  # key in the PNG's text chunk: the digest of the cells it shows


def draw_bars(cells: Cells, clip: str, path: Path, digest: str) -> None:
    """Accuracy of each row, family and shot: the mean over splits, its 95 % interval, and a dot for each split."""
    rows = [row for row in SHOWN if any(key[0] == clip and key[3] == row.name for key in cells)]
    figure, panels = figure_of(1, len(FAMILIES), 1.3 + ROW_INCHES * len(rows), sharey=True)
    for axes, family in zip(panels[0], FAMILIES, strict=True):
        for place, row in enumerate(rows):
            for shot, shift in zip(SHOTS, (-0.2, 0.2), strict=True):
                found = accuracy(cells, clip, family, row.name, shot)
                if found is None:
                    continue
                y, label = place + shift, f"{shot}-shot" if place == 0 else None
                whole = 1.0 if found.complete else 0.45
                axes.barh(y, 100 * found.mean, 0.38, color=COLOURS[shot], alpha=whole, label=label)
                axes.errorbar(100 * found.mean, y, xerr=100 * found.interval, color="k", linewidth=1, capsize=1.5)
                shares = [100 * share for share in found.by_split.values()]
                axes.plot(shares, [y] * len(shares), "o", color="k", markersize=2, alpha=0.6)
        axes.axvline(100 / WAY, color="0.4", linewidth=0.8, linestyle=":")
        axes.set(title=family, xlim=(0, 100), ylim=(len(rows) - 0.4, -0.6), xlabel="accuracy, %")
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    panels[0][0].set_yticks(range(len(rows)), [row.title for row in rows], fontsize=7)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, fontsize=8, frameon=False)
    save(figure, path, digest)


def draw_curves(cells: Cells, clip: str, path: Path, digest: str) -> None:
    """Validation accuracy over episodes of every row with its own training: a line for each family and split."""
    rows = [r for r in SHOWN if any(key[0] == clip and key[3] == r.name and cell.curve for key, cell in cells.items())]
    lines = -(-len(rows) // PANELS)
    figure, panels = figure_of(lines, PANELS, 0.5 + 1.75 * lines, sharex=True, sharey=True)
    flat: list[Axes] = [axes for line in panels for axes in line]
    for axes in flat[len(rows) :]:
        axes.set_visible(False)
    for axes in flat[max(0, len(rows) - PANELS) : len(rows)]:  # the lowest of each column
        axes.tick_params(labelbottom=True)
    for axes, row in zip(flat, rows, strict=False):
        for family in FAMILIES:
            for split in SPLITS:
                cell = cells.get((clip, family, split, row.name))
                if cell is None or not cell.curve:
                    continue
                x = [cell.place(point) / 1000 for point in cell.curve]
                y = [100 * point.accuracy for point in cell.curve]
                axes.plot(x, y, color=CURVES[family], linewidth=0.9, alpha=0.8)
                if cell.best is not None:
                    best = (cell.place(cell.best) / 1000, 100 * cell.best.accuracy)
                    axes.plot(*best, "o", color=CURVES[family], markersize=3)
                if 0 < cell.prototype_episodes < cell.episodes:
                    axes.axvline(cell.prototype_episodes / 1000, color="0.6", linewidth=0.7, linestyle=":")
        axes.set_title(row.name, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    figure.supxlabel("thousand training episodes", fontsize=8)
    figure.supylabel("validation accuracy, %", fontsize=8)
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=CURVES[family], label=family) for family in FAMILIES]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    save(figure, path, digest)


def figure_of(lines: int, columns: int, height: float, **shared: Any) -> tuple[Figure, Any]:
    """A figure of the page's width, and its panels [lines][columns]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(lines, columns, squeeze=False, **shared)


def save(figure: Figure, path: Path, digest: str) -> None:
    """Write a PNG that names its cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=DPI, metadata={CELLS_KEY: digest})
