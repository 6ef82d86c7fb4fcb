"""The benchmark as a picture: a step by stages, the cold start by parts, growth with classes and with sources."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.tools.bench.result import NETWORK, Bench

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NETWORK_COLOUR, OTHER_COLOUR = "#2f6fb7", "#c8762b"
PARTS_COLOURS = ("#8a8f98", "#b9bdc4", "#c8762b", "#e0a877", "#6d9dce", "#2f6fb7", "#1d4a80", "#1d1f23")
INK, FAINT = "#1d1f23", "#d5d8dd"


def draw(bench: Bench, path: Path) -> None:
    """Write the figure to `path` (PNG, SVG or PDF, by its ending). Raises `figures-missing` without matplotlib."""
    require_matplotlib()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(11, 6.6), layout="constrained")
    _step(axes[0][0], bench)
    _cold_start(axes[0][1], bench)
    _classes(axes[1][0], bench)
    _sources(axes[1][1], bench)
    for one in axes.flat:
        one.tick_params(colors=INK)
        one.grid(color=FAINT, linewidth=0.6)
        one.set_axisbelow(True)
        for side in ("top", "right"):
            one.spines[side].set_visible(False)
    figure.suptitle(_title(bench), x=0.01, ha="left", fontsize=11, color=INK)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def require_matplotlib() -> None:
    """Raises `figures-missing`: better before minutes of measuring than after."""
    if find_spec("matplotlib") is None:
        raise MaclipError(
            "figures-missing",
            "matplotlib is not installed, which draws figures.",
            "Install it: pip install 'maclip[figures]', or leave --figure out.",
            EXIT_MACHINE_LACKS,
        )


def _title(bench: Bench) -> str:
    machine, busy = bench.machine, ", the machine was busy" if bench.machine["busy"] else ""
    return (
        f"{bench.bundle['backbone']}, {bench.bundle['precision']}, {bench.bundle['frames']} frames a window, on "
        f"{bench.device}: {machine['cores']} cores of {machine['processor']}{busy}"
    )


def _step(axes: Axes, bench: Bench) -> None:
    streaming = bench.streaming
    for at, (stage, times) in enumerate(streaming.stages.items()):
        axes.barh(at, times.p50, height=0.62, color=NETWORK_COLOUR if stage in NETWORK else OTHER_COLOUR)
        axes.plot([times.p50, times.p90], [at, at], color=INK, linewidth=1.2)
        axes.annotate(
            f"{times.p50:.3g}", (max(times.p50, times.p90), at), (5, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(streaming.stages)), list(streaming.stages))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * max(times.p90 for times in streaming.stages.values()))
    axes.set_xlabel("milliseconds a step, median; the line goes to the 90th percentile")
    axes.set_title(
        f"a step of {streaming.hop_s:g} s of video: {streaming.step.p50:.3g} ms, "
        f"{streaming.beside_network:.1%} beside the network",
        loc="left",
        fontsize=10,
    )


def _cold_start(axes: Axes, bench: Bench) -> None:
    cold, left = bench.cold_start, 0.0
    for colour, (part, seconds) in zip(PARTS_COLOURS, cold.parts_s.items(), strict=False):
        axes.barh(1, seconds, left=left, height=0.5, color=colour, label=part)
        left += seconds
    axes.plot(cold.command_s, [0] * len(cold.command_s), "o", color=INK, markersize=4, alpha=0.6)
    axes.set_yticks([1, 0], ["its parts", "maclip-run\nrecognize"])
    axes.set_ylim(-0.6, 2.6)
    axes.set_xlim(0, None)
    axes.set_xlabel("seconds")
    axes.legend(loc="upper left", ncols=4, frameon=False, fontsize=8)
    axes.set_title("from the start of a process to its first answer", loc="left", fontsize=10)


def _classes(axes: Axes, bench: Bench) -> None:
    counts = [one.classes for one in bench.classes]
    axes.plot(counts, [one.match.p50 for one in bench.classes], "o-", color=NETWORK_COLOUR, label="match, median")
    for label, colour, seconds in (
        ("reading the gallery", OTHER_COLOUR, [one.load_s for one in bench.classes]),
        ("reading it for the first time", INK, [one.first_load_s for one in bench.classes]),
    ):
        known = [(count, took * 1e3) for count, took in zip(counts, seconds, strict=True) if took is not None]
        if known:
            axes.plot(*zip(*known, strict=True), "o--", color=colour, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("enrolled classes")
    axes.set_ylabel("milliseconds")
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("growth with the gallery", loc="left", fontsize=10)


def _sources(axes: Axes, bench: Bench) -> None:
    counts = [one.sources for one in bench.sources]
    axes.plot(counts, [one.windows_per_second for one in bench.sources], "o-", color=NETWORK_COLOUR)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_ylim(0, 1.15 * max((one.windows_per_second for one in bench.sources), default=1.0))
    axes.set_xlabel("sources at once, one session")
    axes.set_ylabel("windows a second, all sources")
    axes.set_title("growth with sources", loc="left", fontsize=10)
