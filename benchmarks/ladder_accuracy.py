"""A ladder against adapted blocks and TPCM alone: the same clips, episodes, metric and minutes of training.

    python -m benchmarks.ladder_accuracy SCRATCH [--clip nopos] [--split 1] [--rows ladder,tpcm] [--minutes 20]
                                         [--finished] [--data DIR] [--smallest] [--json FILE]

A cell is one row on one CLIP and one split of the motions; the split is also the seed. Each trains for `minutes` of
one core's time, so that other work on the machine decides nothing: some episodes are timed first, then as many are
trained as fit. All rows see 12 classes an episode, one shot, one query and no text, lambda 0.5 (docs/method.md,
section 8), and are tested on the same 2,000 episodes. Clips, caches, runs and finished cells are kept in SCRATCH; the
same command resumes.

Predicted before it was measured, motions without positions, 1-shot / 5-shot: TPCM 54 / 62, all blocks 58 / 65 (they
train a fifth of the ladder's episodes), ladder 69 / 77 after 2,500 episodes. With positions TPCM is near its limit: the
ladder gains 3 points or less.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType

from benchmarks.ablation.cells import CLIPS, SPLITS, Clip
from benchmarks.command import parse, parser, run
from maclip.config import EvaluationConfig, Machine, ModelConfig, TrainConfig
from maclip.data.dataset import open_folders
from maclip.evaluation.api import evaluate
from maclip.runs import Run
from maclip.training.api import resume, train_new
from maclip.training.callbacks import Callbacks, Step
from maclip.world.synth import CLASSES_FILE, write_clips
from maclip.writing import replacing
from maclip_runtime.errors import MaclipError
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json

CLIPS_A_CLASS = {"train": 40, "val": 20, "test": 20}
SHOTS = (1, 5)
CELL = "cell.json"
WAY, TEST_WAY, SMALLEST_WAY = 12, 5, 3
EPISODES, SMALLEST_EPISODES = 2000, 20
TIMED, UNTIMED = 12, 4  # episodes that are timed, after some that are not
HEAD_TIMED, HEAD_UNTIMED = 400, 50  # likewise of TPCM on cached features
MODEL = ModelConfig.of(open_set_weight=0.5, fusion_weight=0.0)
TRAIN = TrainConfig.of(
    way=WAY, accumulate=1, learning_rate=1e-3, prototype_learning_rate=1e-3, weight_decay=0.05, text_dropout=1.0,
    validations=8, validation_episodes=1000,
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One way to train: its name in words, and its model."""

    title: str
    model: ModelConfig


ROWS: Mapping[str, Row] = MappingProxyType(
    {
        "tpcm": Row("TPCM alone", MODEL.changed(adapters="none")),
        "last-block": Row("adapters in the last block, cached", MODEL.changed(adapters="blocks", adapted_depth=1)),
        "blocks": Row("adapters in all blocks", MODEL.changed(adapters="blocks")),
        "ladder": Row("ladder, cached", MODEL.changed(adapters="ladder")),
    }
)


@dataclass(frozen=True)
class Cell:
    """One row on one CLIP and split: what it was trained for, and its accuracy by shots, 0..1, with intervals."""

    clip: str
    split: int
    row: str
    tuned: int
    minutes: float
    episodes: int
    episodes_per_second: float
    accuracy: dict[str, float]
    interval: dict[str, float]
    validation: tuple[float, ...]


def main() -> None:
    """Compute missing cells, print all, and write JSON where asked to."""
    options = parser(__doc__)
    options.add_argument("scratch", type=Path, help="folder for clips, caches, runs and cells")
    options.add_argument("--clip", choices=[clip.name for clip in CLIPS], action="append", help="default: both")
    options.add_argument("--split", type=int, action="append", help="default: 1, 2 and 3")
    options.add_argument("--rows", default=",".join(ROWS), help=f"default: {','.join(ROWS)}")
    options.add_argument(
        "--minutes", type=float, default=20.0, help="of one core's time, for each cell's training (default 20)"
    )
    options.add_argument("--finished", action="store_true", help="compute nothing: only the cells that are there")
    options.add_argument("--data", type=Path, help="clips that are there; default: drawn for each split")
    chosen = parse(options)
    rows = chosen.rows.split(",")
    for name in rows:
        if name not in ROWS:
            raise MaclipError("option-invalid", f"There is no row {name!r}.", f"Choose from: {', '.join(ROWS)}.")
    machine, cells = machine_facts(), []
    for clip in [clip for clip in CLIPS if clip.name in (chosen.clip or [one.name for one in CLIPS])]:
        for split, row in product(chosen.split or SPLITS, rows):
            folder = chosen.scratch / f"{clip.name}-{split}-{row}"
            if chosen.finished and not (folder / CELL).is_file():
                continue
            clips = chosen.scratch / f"clips-{split}"
            data = chosen.data or (clips if chosen.finished else draw(clips, split))
            cells.append(work(folder, clip, split, row, data, chosen.minutes, chosen.smallest))
    show(cells)
    if chosen.json:
        settings = {"minutes": chosen.minutes, "clips": CLIPS_A_CLASS, "test_episodes": EPISODES}
        write_json(chosen.json, {"machine": machine, "settings": settings, "cells": [asdict(cell) for cell in cells]})


def draw(folder: Path, split: int) -> Path:
    """The clips of a split, drawn where they are missing or incomplete."""
    if not (folder / CLASSES_FILE).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        write_clips(folder, "motion", CLIPS_A_CLASS, seed=split, split_seed=split)
    return folder


def work(folder: Path, clip: Clip, split: int, row: str, data: Path, minutes: float, smallest: bool) -> Cell:
    """The cell of `row`, computed where it is missing."""
    path = folder / CELL
    if not path.is_file():
        cell = _compute(folder, clip, split, row, data, minutes, smallest)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(cell), indent=1) + "\n", encoding="utf-8")
    facts = json.loads(path.read_text(encoding="utf-8"))
    return Cell(**{**facts, "validation": tuple(facts["validation"])})


def _compute(folder: Path, clip: Clip, split: int, row: str, data: Path, minutes: float, smallest: bool) -> Cell:
    folder.mkdir(parents=True, exist_ok=True)
    machine = Machine(device="cpu", stem_cache=folder.parent / "stem")
    model, head = ROWS[row].model, ROWS[row].model.adapters.kind == "none"
    episodes, validation = (TIMED, 20) if smallest else (_fitting(folder, clip, split, row, data, minutes), 1000)
    trained = folder / "run"
    if (trained / "state").is_dir():
        resume(trained, machine=machine)
    else:
        shutil.rmtree(trained, ignore_errors=True)
        many = {"episodes": 0, "prototype_episodes": episodes} if head else {"episodes": episodes}
        way = SMALLEST_WAY if smallest else WAY
        config = TRAIN.changed(way=way, seed=split, validation_episodes=validation, **many)
        train_new(open_folders(data), trained, "tiny", clip.pretrained, model, config, machine=machine)
    opened, found = Run.open(trained), {}
    for shot in (1,) if smallest else SHOTS:
        asked = EvaluationConfig.of(
            way=SMALLEST_WAY if smallest else TEST_WAY,
            shot=shot,
            episodes=SMALLEST_EPISODES if smallest else EPISODES,
            seed=split,
            names="none",
        )
        found[str(shot)] = evaluate(opened, open_folders(data), asked).result
    metrics = opened.metrics()
    return Cell(
        clip=clip.name,
        split=split,
        row=row,
        tuned=sum(parameter.numel() for parameter in opened.model().tuned_parameters()),
        minutes=minutes,
        episodes=episodes,
        episodes_per_second=episodes / (minutes * 60),
        accuracy={shot: result.accuracy for shot, result in found.items()},
        interval={shot: result.interval for shot, result in found.items()},
        validation=tuple(one["validation"] for one in metrics if "validation" in one),
    )


def _fitting(folder: Path, clip: Clip, split: int, row: str, data: Path, minutes: float) -> int:
    """How many episodes of `row` take `minutes`; measured once and kept."""
    path = folder / "episodes.json"
    if not path.is_file():
        timing, clock = folder / "timing", _Clock()
        shutil.rmtree(timing, ignore_errors=True)
        if ROWS[row].model.adapters.kind == "none":
            timed, many = HEAD_TIMED, {"episodes": 0, "prototype_episodes": HEAD_TIMED + HEAD_UNTIMED}
        else:
            timed, many = TIMED, {"episodes": TIMED + UNTIMED}
        config = TRAIN.changed(seed=split, validations=1, validation_episodes=1, **many)
        machine = Machine(device="cpu", stem_cache=folder.parent / "stem")
        train_new(
            open_folders(data), timing, "tiny", clip.pretrained, ROWS[row].model, config,
            machine=machine, callbacks=clock,
        )  # fmt: skip
        path.write_text(json.dumps(round(60 * minutes * timed / (clock.times[-1] - clock.times[-1 - timed]))))
    return max(1, int(json.loads(path.read_text())))


class _Clock(Callbacks):
    """How much time of the processor was used when each update ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def step(self, step: Step) -> None:
        """Keep the time."""
        self.times.append(time.process_time())


def show(cells: list[Cell]) -> None:
    """A table of all cells."""
    lines = [
        (
            *(cell.clip, str(cell.split), ROWS[cell.row].title, f"{cell.tuned:,}", f"{cell.episodes:,}"),
            " / ".join(f"{100 * value:.1f}" for value in cell.accuracy.values()),
            " ".join(f"{100 * value:.0f}" for value in cell.validation),
        )
        for cell in cells
    ]
    headings = ("CLIP", "split", "row", "tuned", "episodes", "1-shot / 5-shot", "validation")
    results_console().print(table("accuracy in the same minutes of training, %", headings, lines, text_columns=3))


if __name__ == "__main__":
    run(main)
