"""The top of docs/ablation.md: one chart and one table of questions, for a reader with a minute."""

from __future__ import annotations

from pathlib import Path

from benchmarks.ablation.cells import CLIPS, SPLITS, WAY, Cells
from benchmarks.ablation.claims import (
    AGAINST,
    HOLDS,
    MISSING,
    MIXED,
    OPEN,
    PARTIAL,
    Claim,
    Verdict,
    accuracy,
    judge,
    points,
)
from benchmarks.ablation.pictures import figure_of, save

FAMILY, SHOT = "motion", 1
COLOUR, PALE = "#2f5d94", "#9db8d9"
# The bars, from the least to the most of the method.
BARS = {
    "frozen-otam": "frozen CLIP",
    "adapters": "adapters only, last block",
    "adapters-all": "adapters only, all blocks",
    "fsar-head": "CLIP-FSAR's head",
    "tpcm": "TPCM only",
    "both": "TPCM, then adapters in the last block",
    "k-all-anew": "TPCM and adapters in all blocks, together",
}
FULL = ("both", "k-all-anew")
QUESTIONS = {
    "Does TPCM help?": Claim("", "frozen-otam", "tpcm"),
    "Do adapters alone help, in the last block?": Claim("", "frozen-otam", "adapters"),
    "Do adapters alone help, in all blocks?": Claim("", "frozen-otam", "adapters-all"),
    "Do adapters in the last block add to a trained TPCM?": Claim("", "tpcm", "both"),
    "Is TPCM with adapters in all blocks, trained together, better than TPCM alone?": Claim("", "tpcm", "k-all-anew"),
    "And better than CLIP-FSAR's head?": Claim("", "fsar-head", "k-all-anew"),
    "Does it help to tell the class's name (adapters in the last block)?": Claim("", "no-names", "both"),
    "Is TPCM with adapters in the last block better than training all of CLIP?": Claim("", "full-tuning", "both"),
}


def summary(cells: Cells, chart: str) -> list[str]:
    """The chart with its caption, and the table, as Markdown."""
    head = "| | " + " | ".join(clip.title for clip in CLIPS) + " |"
    rows = [
        f"| {question} | " + " | ".join(_answer(judge(cells, clip.name, FAMILY, SHOT, claim)) for clip in CLIPS) + " |"
        for question, claim in QUESTIONS.items()
    ]
    return [
        f"![Accuracy with one clip a class, for each part of the method]({chart})",
        f"Accuracy with one clip a class on motions that training never saw, {WAY} classes at a time. The dotted line "
        "is chance, a dot is a split of the classes, and a pale bar lacks a split.",
        "\n".join([head, "| --- " * (1 + len(CLIPS)) + "|", *rows]),
        "Differences are percentage points of accuracy, ± half of the 95 % interval. **Yes** and **no** hold in every "
        "split of the classes; *mixed* differs between splits.",
        "*With positions*, the captions that CLIP learned from say where things are; *without*, they never do. So the "
        "features of the first CLIP tell where a thing is in each frame, and TPCM only has to read the order. Those of "
        "the second do not, so the adapters have something to add.",
    ]


def _answer(verdict: Verdict) -> str:
    found = verdict.difference
    if found is None or verdict.state == MISSING:
        return "not measured"
    words = {HOLDS: "**yes**", AGAINST: "**no**", MIXED: "*mixed*", OPEN: "no difference"}
    if verdict.state == PARTIAL:
        count = len(found.by_split)
        return f"{points(found)} ({count} of {len(SPLITS)} splits)"
    return f"{words[verdict.state]}, {points(found)}"


def draw_summary(cells: Cells, path: Path, digest: str) -> None:
    """The chart: a panel for each CLIP, a bar for each part that is measured."""
    figure, panels = figure_of(1, len(CLIPS), 3.0, sharey=True)
    for axes, clip in zip(panels[0], CLIPS, strict=True):
        for place, row in enumerate(BARS):
            found = accuracy(cells, clip.name, FAMILY, row, SHOT)
            if found is None:
                axes.text(2, place, "not measured", va="center", fontsize=7, color="0.5")
                continue
            colour, whole = COLOUR if row in FULL else PALE, 1.0 if found.complete else 0.45
            axes.barh(place, 100 * found.mean, 0.6, color=colour, alpha=whole)
            shares = [100 * share for share in found.by_split.values()]
            axes.text(max(shares) + 3, place, f"{100 * found.mean:.0f}", va="center", fontsize=8)
            axes.plot(shares, [place] * len(shares), "o", color="k", markersize=2, alpha=0.6)
        axes.axvline(100 / WAY, color="0.4", linewidth=0.8, linestyle=":")
        axes.set(title=clip.title, xlim=(0, 105), ylim=(len(BARS) - 0.4, -0.6), xlabel="accuracy, %")
        axes.set_axisbelow(True)
    panels[0][0].set_yticks(range(len(BARS)), list(BARS.values()), fontsize=8)
    save(figure, path, digest)
