"""What the method and this project claim, and whether the cells support it.

Rows of one setting are tested on the same episodes, so they are compared episode by episode. The mean over splits is
the mean of the splits' means. Its 95 % interval comes from the spread of the episodes within each split, so it says how
well these splits are measured, not how other splits would come out. A claim therefore holds only if the interval of
each split by itself excludes zero, on the same side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.ablation.cells import SPLITS, Cells

Z_95 = 1.96
HOLDS, AGAINST, MIXED, OPEN = "holds", "does not", "not in every split", "not separated"
PARTIAL, MISSING = "on some splits only", "not measured"  # no verdict
STATES = (HOLDS, AGAINST, MIXED, OPEN, PARTIAL, MISSING)


@dataclass(frozen=True)
class Claim:
    """Row `better` is more accurate than row `worse`."""

    title: str
    worse: str
    better: str


NOTHING = Claim("nothing < TPCM only", "frozen-otam", "tpcm")
# By adapted depth: one block, and all as in the paper, both on a trained TPCM; then all with adapters and TPCM trained
# together from nothing.
CHAINS = {
    depth: (
        NOTHING,
        Claim(f"TPCM only < adapters only, {depth}", "tpcm", adapters),
        Claim(f"adapters only < both, {depth}", adapters, both),
    )
    for depth, adapters, both in (
        ("K = 1", "adapters", "both"),
        ("K = all", "adapters-all", "k-all"),
        ("K = all from nothing", "adapters-all", "k-all-anew"),
    )
}
ORDERING = (
    *CHAINS["K = 1"],
    *CHAINS["K = all"][1:],
    Claim("TPCM only < adapters only, K = all, random crops alike", "tpcm-crops", "adapters-all"),
    CHAINS["K = all from nothing"][-1],
    Claim("TPCM only < both, K = 1", "tpcm", "both"),
    Claim("TPCM only < both, K = 1, random crops alike", "tpcm-crops", "both-crops"),
    Claim("TPCM only < both, K = all", "tpcm", "k-all"),
    Claim("TPCM only < both, K = all from nothing", "tpcm", "k-all-anew"),
    Claim("TPCM only < both, K = all from nothing, random crops alike", "tpcm-crops", "k-all-anew"),
    Claim("the text token helps, K = 1", "no-token", "both"),
)
TEXT = (
    Claim("trained and asked with text, better than without", "no-text", "both"),
    Claim("TPCM only < both, K = 1, trained and asked without text", "tpcm-no-text", "no-text"),
    Claim("a name helps", "no-names", "both"),
    Claim("the right name, better than a wrong one", "wrong-names", "both"),
    Claim("TPCM only < both, K = 1, asked without names", "tpcm-no-names", "no-names"),
    Claim("TPCM only < both, K = all, asked without names", "tpcm-no-names", "k-all-no-names"),
    Claim("TPCM only < both, K = all from nothing, asked without names", "tpcm-no-names", "anew-no-names"),
    Claim(
        "TPCM only < both, K = all from nothing, asked without names, random crops alike",
        "tpcm-crops-no-names",
        "anew-no-names",
    ),
    Claim(
        "TPCM only < adapters only, K = all, asked without names, random crops alike",
        "tpcm-crops-no-names",
        "adapters-all-no-names",
    ),
    Claim("CLIP-FSAR's head < both, K = 1, asked without names", "fsar-no-names", "no-names"),
    Claim("CLIP-FSAR's head < both, K = all, asked without names", "fsar-no-names", "k-all-no-names"),
    Claim("CLIP-FSAR's head < both, K = all from nothing, asked without names", "fsar-no-names", "anew-no-names"),
    Claim(
        "CLIP-FSAR's head < both, K = all from nothing, asked without names, random crops alike",
        "fsar-crops-no-names",
        "anew-no-names",
    ),
    Claim("adapters only < both, K = all from nothing, asked without names", "adapters-all-no-names", "anew-no-names"),
)
CHOICES = (
    Claim("K = 2 beats K = 1", "both", "k2"),
    Claim("K = 3 beats K = 1", "both", "k3"),
    Claim("K = all beats K = 1", "both", "k-all"),
    Claim("adapters only: K = all beats K = 1", "adapters", "adapters-all"),
    Claim("K = all: together from nothing, better than after TPCM", "k-all", "k-all-anew"),
    Claim("TPCM only: random crops, better than the centre", "tpcm", "tpcm-crops"),
    Claim("CLIP-FSAR's head: random crops, better than the centre", "fsar-head", "fsar-crops"),
    Claim("both, K = 1: random crops, better than the centre", "both", "both-crops"),
    Claim("shots averaged after TPCM, better than before", "mean-before", "both"),
    Claim("Bi-MHM beats OTAM", "both", "bimhm"),
    Claim("OTAM beats TRX", "trx", "both"),
    Claim("the method beats full fine-tuning", "full-tuning", "both"),
)
METRICS = (
    Claim("Bi-MHM: nothing < TPCM only", "frozen-bimhm", "tpcm-bimhm"),
    Claim("Bi-MHM: TPCM only < adapters only", "tpcm-bimhm", "adapters-bimhm"),
    Claim("Bi-MHM: adapters only < both", "adapters-bimhm", "bimhm"),
    Claim("TRX: TPCM only < adapters only", "tpcm-trx", "adapters-trx"),
    Claim("TRX: adapters only < both", "adapters-trx", "trx"),
)
BASELINES = tuple(
    # A model with a cached stem saw random crops only if they are cached too.
    Claim(f"{model} beats {title}", baseline, "both-crops" if (row, baseline) == ("both", "fsar-crops") else row)
    for model, row in (("K = 1", "both"), ("K = all", "k-all"), ("K = all from nothing", "k-all-anew"))
    for title, baseline in (
        ("frozen CLIP, mean features", "frozen-mean"),
        ("zero-shot CLIP by names", "zero-shot"),
        ("CLIP-FSAR's head on frozen CLIP", "fsar-head"),
        ("CLIP-FSAR's head, random crops", "fsar-crops"),
        ("CLIP-FSAR, visual encoder tuned", "fsar"),
    )
)


@dataclass(frozen=True)
class Pooled:
    """A mean over splits, 0..1, and the half-width of its 95 % interval over episodes; the same for each split."""

    mean: float
    interval: float
    by_split: Mapping[int, float]
    intervals: Mapping[int, float]

    @property
    def complete(self) -> bool:
        """Whether all splits are measured."""
        return set(self.by_split) >= set(SPLITS)

    @property
    def dissenting(self) -> dict[int, float]:
        """Means of the splits that do not agree with the overall mean by themselves."""
        side = math.copysign(1, self.mean)
        return {split: own for split, own in self.by_split.items() if own * side <= self.intervals[split]}

    @property
    def range(self) -> tuple[float, float]:
        """The means of the lowest and the highest split."""
        return min(self.by_split.values()), max(self.by_split.values())


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim: one of `STATES`, and the difference if any split has both rows."""

    state: str
    difference: Pooled | None

    @property
    def text(self) -> str:
        """The text of a table cell: state and difference in points."""
        found = self.difference
        if found is None:
            return "—"
        if self.state == PARTIAL:
            return f"{len(found.by_split)} of {len(SPLITS)} splits: {points(found)}"
        if self.state == MIXED:
            other = [f"{100 * own:+.1f} in split {split}" for split, own in found.dissenting.items()]
            return f"{MIXED}: {points(found)}, but {', '.join(other)}".replace("-", "−")
        return f"**{self.state}**: {points(found)}" if self.state in (HOLDS, AGAINST) else f"{OPEN}: {points(found)}"


def points(found: Pooled) -> str:
    """A difference in percentage points, with its interval."""
    return f"{100 * found.mean:+.1f} ± {100 * found.interval:.1f}".replace("-", "−")


def pool(by_split: Mapping[int, npt.NDArray[np.float64]]) -> Pooled | None:
    """Values [episodes] of each split -> their mean over splits; None without splits."""
    if not by_split:
        return None
    means = {split: float(figures.mean()) for split, figures in by_split.items()}
    variances = {split: float(figures.var(ddof=1)) / len(figures) for split, figures in by_split.items()}
    intervals = {split: Z_95 * math.sqrt(variance) for split, variance in variances.items()}
    interval = Z_95 * math.sqrt(sum(variances.values())) / len(means)
    return Pooled(sum(means.values()) / len(means), interval, means, intervals)


def accuracy(cells: Cells, clip: str, family: str, row: str, shot: int) -> Pooled | None:
    """The accuracy of a row over the measured splits."""
    found = {split: cells.get((clip, family, split, row)) for split in SPLITS}
    return pool({split: cell.answers[shot].right for split, cell in found.items() if cell is not None})


def difference(cells: Cells, clip: str, family: str, shot: int, worse: str, better: str) -> Pooled | None:
    """`better` minus `worse`, paired by episode, over the splits where both are measured."""
    found: dict[int, npt.NDArray[np.float64]] = {}
    for split in SPLITS:
        a, b = (cells.get((clip, family, split, row)) for row in (worse, better))
        if a is not None and b is not None:
            found[split] = b.answers[shot].right - a.answers[shot].right
    return pool(found)


def judge(cells: Cells, clip: str, family: str, shot: int, claim: Claim) -> Verdict:
    """The verdict on `claim`."""
    found = difference(cells, clip, family, shot, claim.worse, claim.better)
    if found is None or not found.complete:
        return Verdict(PARTIAL if found else MISSING, found)
    if abs(found.mean) <= found.interval:
        return Verdict(OPEN, found)
    if found.dissenting:
        return Verdict(MIXED, found)
    return Verdict(HOLDS if found.mean > 0 else AGAINST, found)


def tally(verdicts: Sequence[Verdict]) -> str:
    """The number of each state, in words: "3 hold, 1 does not"."""
    counts = {state: sum(verdict.state == state for verdict in verdicts) for state in STATES}
    plural = {HOLDS: "hold", AGAINST: "do not"}
    return ", ".join(f"{n} {state if n == 1 else plural.get(state, state)}" for state, n in counts.items() if n)
