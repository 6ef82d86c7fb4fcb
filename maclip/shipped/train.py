"""Train the shipped runs from nothing: `python -m maclip.shipped.train OUT`. It takes hours.

Draws clips and streams into OUT, trains the runs of `settings` in order, and writes them with their model card into
OUT/shipped, or with `--install` into the package. Interrupted, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from maclip.config import Machine
from maclip.runs import CONFIG_FILE, Run
from maclip.shipped import FOLDER
from maclip.shipped.pack import CLIPS_DIR, HELD_OUT_DIR, STREAMS_DIR, TIME_FILE, pack
from maclip.shipped.settings import RECIPE, Recipe, RunPlan
from maclip.training.api import resume, train_new
from maclip.training.callbacks import Callbacks
from maclip.world.streams import ANNOTATIONS_FILE, write_streams
from maclip.world.synth import CLASSES_FILE, write_clips
from maclip.writing import replacing

BACKBONE = "tiny"
STEM_DIR = "stem"  # of stem tokens, which the runs share


def reproduce(out: Path, target: Path, recipe: Recipe = RECIPE, callbacks: Callbacks | None = None) -> dict[str, Any]:
    """Draw the data, train the runs and pack them; return the model card. Raises what its parts raise.

    out: folder for data and runs; what is finished in it is kept.
    target: folder for the packed runs and the card.
    recipe: the settings; default: those of the shipped runs.
    callbacks: of the trainings.
    """
    callbacks = callbacks or Callbacks()
    draw(out, recipe, callbacks)
    for plan in recipe.runs:
        train_plan(out, out, plan, callbacks)
    return pack(out, target=target, recipe=recipe)


def draw(out: Path, recipe: Recipe, callbacks: Callbacks) -> None:
    """Draw clips and streams into `out`, as far as they are not there."""
    workers = os.cpu_count() or 1
    if not (out / CLIPS_DIR / CLASSES_FILE).is_file():
        write_clips(
            out / CLIPS_DIR, "motion", recipe.clips,
            seed=recipe.clips_seed, workers=workers, progress=callbacks.progress("drawing clips"),
        )  # fmt: skip
    for folder, splits, count, seed in (
        (STREAMS_DIR, ("train",), recipe.streams, recipe.streams_seed),
        (HELD_OUT_DIR, ("val", "test"), recipe.held_out, recipe.held_out_seed),
    ):
        if not (out / folder / ANNOTATIONS_FILE).is_file():
            write_streams(
                out / folder, "motion", splits, count,
                actions=recipe.actions, seed=seed, workers=workers, progress=callbacks.progress("drawing streams"),
            )  # fmt: skip


def train_plan(data: Path, out: Path, plan: RunPlan, callbacks: Callbacks) -> None:
    """Train the run of `plan` into `out`, unless it is finished, and note the time that it took.

    data: where `draw` drew. `out` has the run that it begins with.
    """
    run, machine = out / plan.name, Machine(device="cpu", stem_cache=data / STEM_DIR)
    begun_before = (run / CONFIG_FILE).is_file()
    if begun_before and Run.open(run).config.chosen is not None:
        return
    begun = time.monotonic()
    try:
        if begun_before:
            resume(run, machine=machine, callbacks=callbacks)
        else:
            config = plan.train
            if config.streams.streams not in ("none", "stitch"):
                config = config.changed(streams=str(data / config.streams.streams))
            init = out / plan.init if plan.init else None
            train_new(
                data / CLIPS_DIR, run, BACKBONE, BACKBONE, plan.model, config,
                machine=machine, init=init, callbacks=callbacks,
            )  # fmt: skip
    finally:
        if run.is_dir():
            _note_time(run / TIME_FILE, time.monotonic() - begun)


def _note_time(file: Path, seconds: float) -> None:
    """Add `seconds` to what the file says."""
    before = json.loads(file.read_text(encoding="utf-8"))["seconds"] if file.is_file() else 0.0
    with replacing(file) as path:
        path.write_text(json.dumps({"seconds": round(before + seconds, 1)}) + "\n", encoding="utf-8")


class Printed(Callbacks):
    """Notes and validations on stderr."""

    def note(self, text: str) -> None:
        """Print the note."""
        print(text, file=sys.stderr)

    def validated(self, stage: str, episode: int, accuracy: float, interval: float) -> None:
        """Print the accuracy."""
        print(f"{stage} {episode}: validation {accuracy:.1%} ± {interval:.1%}", file=sys.stderr)


def main(arguments: list[str]) -> None:
    """Reproduce the shipped runs."""
    parser = argparse.ArgumentParser(prog="python -m maclip.shipped.train", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--install", action="store_true", help="write the packed runs into the package")
    options = parser.parse_args(arguments)
    target = FOLDER if options.install else options.out / "shipped"
    print(reproduce(options.out, target, callbacks=Printed())["why"])


if __name__ == "__main__":
    main(sys.argv[1:])
