"""A benchmark as a picture: milliseconds a clip of each runner, and what that is of the machine's peak."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from maclip_export.bench.measure import Result, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"torch": "#8a8f98", "onnxruntime": "#2f6fb7", "openvino": "#c8762b"}
STEP_COLOUR = "#1d1f23"
INK, FAINT = "#1d1f23", "#d5d8dd"
ROW_INCHES = 0.42
PEAK_MARKS = (0.0, 0.5, 1.0)


def draw(result: Result, title: str, path: Path) -> None:
    """Write the figure to `path` (PNG, SVG or PDF, by its ending); runners that failed are left out."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in result.rows if row.clip is not None]
    height = 1.6 + ROW_INCHES * len(rows)
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(10, height), width_ratios=(3, 1), sharey=True, layout="constrained"
    )
    for at, row in enumerate(rows):
        _latency(left, at, row)
        _share(right, at, row)
    left.set_yticks(range(len(rows)), [_label(row) for row in rows])
    left.invert_yaxis()
    left.set_xlim(0, 1.3 * max(row.clip.p90 for row in rows if row.clip is not None))
    left.set_xlabel("milliseconds a clip, median; the line goes from the best to the 90th percentile")
    right.set_xlim(0, 1.2)
    right.set_xticks(PEAK_MARKS, [f"{mark:.0%}" for mark in PEAK_MARKS])
    right.set_xlabel("of the measured peak")
    right.axvline(1, color=INK, linewidth=0.8, linestyle=(0, (3, 3)))
    for axes in (left, right):
        axes.tick_params(length=0, colors=INK)
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    _legend(figure, rows)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _label(row: Row) -> str:
    device = "" if row.device == "cpu" else f", {row.device}"
    return f"{row.runner}{device}\n{row.precision}"


def _latency(axes: Axes, at: int, row: Row) -> None:
    assert row.clip is not None
    axes.barh(at, row.clip.p50, height=0.62, color=COLOURS[row.engine])
    axes.plot([row.clip.best, row.clip.p90], [at, at], color=INK, linewidth=1.2, solid_capstyle="butt")
    said = f"{row.clip.p50:.0f} ms" if row.clip.p50 >= 100 else f"{row.clip.p50:.3g} ms"
    if row.ratio is not None:
        said += f", {row.ratio:.1f} times"
    axes.annotate(
        said, (max(row.clip.p50, row.clip.p90), at), (6, 0), textcoords="offset points", va="center", fontsize=9
    )
    if row.step is not None:
        axes.plot([row.step.p50], [at], "D", color=STEP_COLOUR, markerfacecolor="white", markersize=5)


def _share(axes: Axes, at: int, row: Row) -> None:
    if row.peak_share is None:
        axes.annotate("no peak measured", (0, at), (6, 0), textcoords="offset points", va="center", fontsize=8)
        return
    axes.barh(at, row.peak_share, height=0.62, color=COLOURS[row.engine])
    inside = row.peak_share > 0.25  # beyond the bar's end the figure would meet the line of the peak
    axes.annotate(
        f"{row.peak_share:.0%}",
        (row.peak_share, at),
        (-4 if inside else 4, 0),
        textcoords="offset points",
        ha="right" if inside else "left",
        va="center",
        fontsize=9,
        color="white" if inside else INK,
    )


def _legend(figure: Figure, rows: list[Row]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    engines = [engine for engine in COLOURS if any(row.engine == engine for row in rows)]
    handles: list[Patch | Line2D] = [Patch(color=COLOURS[engine], label=engine) for engine in engines]
    if any(row.step is not None for row in rows):
        handles.append(
            Line2D(
                [], [], marker="D", color=STEP_COLOUR, markerfacecolor="white", linestyle="", label="a stream's step"
            )
        )
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False, fontsize=9)
