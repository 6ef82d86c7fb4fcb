"""What names bring: the shipped runs asked with names and without, on validation and on test motions.

    python -m benchmarks.names [--smallest] [--json FILE]

Clips are drawn as `maclip.shipped.settings` says. With names the text weight is the best one on validation motions;
without them nothing votes. Training chooses between the two on validation motions alone; the test motions are reported.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.command import parse, parser, run
from maclip.data.dataset import open_folders
from maclip.evaluation.evaluator import Evaluator, Support
from maclip.evaluation.features import store_for
from maclip.evaluation.selection import choose_fusion_weight
from maclip.runs import Run
from maclip.shipped import SHIPPED, shipped_run
from maclip.shipped.settings import RECIPE
from maclip.world.synth import write_clips
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json

WAY, SHOTS, SEED = 5, (1, 5), 0
HELD_OUT = ("val", "test")
EPISODES, SMALLEST_EPISODES = 10_000, 20


@dataclass(frozen=True)
class Found:
    """Accuracy of one run, 0..1, with half of the 95 % interval; `used`: what training chose."""

    run: str
    split: str
    shot: int
    names: str
    used: bool
    weight: float
    accuracy: float
    interval: float


def main() -> None:
    """Measure, print a table, and write JSON where asked to."""
    options = parser(__doc__)
    chosen = parse(options)
    machine = machine_facts()
    clips = 6 if chosen.smallest else RECIPE.clips["test"]
    episodes = SMALLEST_EPISODES if chosen.smallest else EPISODES
    runs = SHIPPED[:1] if chosen.smallest else SHIPPED
    with tempfile.TemporaryDirectory() as folder:
        counts = dict.fromkeys(HELD_OUT, clips)
        write_clips(
            Path(folder) / "clips", "motion", counts,
            seed=RECIPE.clips_seed, splits=HELD_OUT, workers=os.cpu_count() or 1,
        )  # fmt: skip
        found = [one for name in runs for one in measure(name, Path(folder) / "clips", episodes)]
    show(found)
    if chosen.json:
        settings = {"way": WAY, "episodes": episodes, "clips": clips, "seed": SEED}
        write_json(chosen.json, {"machine": machine, "settings": settings, "found": [asdict(one) for one in found]})


def measure(name: str, clips: Path, episodes: int) -> list[Found]:
    """All figures of one shipped run."""
    opened = Run.open(shipped_run(name))
    model, used = opened.model(), opened.config.support_names == "own"
    found = []
    for names in ("own", "none"):
        evaluators = {
            split: Evaluator(model, store_for(model, open_folders(clips).split(split)), support=Support(names))
            for split in HELD_OUT
        }
        weight = choose_fusion_weight(evaluators["val"].evaluate(WAY, 1, episodes, SEED))
        for split, shot in ((split, shot) for split in HELD_OUT for shot in SHOTS):
            result = evaluators[split].evaluate(WAY, shot, episodes, SEED, weight=weight)
            found.append(Found(name, split, shot, names, used, result.fusion_weight, result.accuracy, result.interval))
    return found


def show(found: list[Found]) -> None:
    """A row for each run, set and shot."""
    by = {(one.run, one.split, one.shot, one.names): one for one in found}
    lines = [
        (
            *(run_name, split, f"{shot}-shot"),
            *(_figure(by[run_name, split, shot, names]) for names in ("own", "none")),
            "with names" if by[run_name, split, shot, "own"].used else "without",
        )
        for run_name, split, shot, names in by
        if names == "own"
    ]
    headings = ("run", "motions", "clips", "with names", "without", "training chose")
    results_console().print(table(f"accuracy with names and without, {WAY}-way, %", headings, lines, text_columns=3))


def _figure(one: Found) -> str:
    return f"{100 * one.accuracy:.1f} ± {100 * one.interval:.1f}"


if __name__ == "__main__":
    run(main)
