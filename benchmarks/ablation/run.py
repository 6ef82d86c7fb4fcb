"""Trains and asks the rows, one after the other; what is done is kept, so it goes on where it was stopped.

    python -m benchmarks.ablation.run SCRATCH [--family motion] [--split 1] [--rows tpcm,both] [--backbone NAME=FILE]

A cell is one row on one family with one split of the classes and one seed. Its figures go to
benchmarks/results/ablation/, its clips, runs and records of every answer to SCRATCH.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import maclip
from benchmarks.ablation.rows import ROWS, Row, find_row
from maclip import launch
from maclip.data import DataSet, open_data
from maclip.evaluation import Evaluator, choose_fusion_weight
from maclip.model import MaClip
from maclip.record import RECORD_FORMAT, Record, episodes_sha256, write_record
from maclip.run import METRICS_FILE, replacing
from maclip.store import ClipStore
from maclip.training import CHOOSING_EPISODES, VALIDATION_SEED, VALIDATION_WAY, Step
from maclip.world.synth import write_clips

RESULTS = Path(__file__).resolve().parent.parent / "results" / "ablation"
FAMILIES = ("motion", "object-motion")
SPLITS = (1, 2, 3)
CLIPS = {"train": 16, "val": 12, "test": 12}  # a class
SHOTS = (1, 5)
EPISODES = 2000
MINUTES_FILE = "minutes.json"  # of a run: what its parts took, added up over interruptions
CLIP_NAME = "tiny"


def _commit() -> str:

    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=RESULTS.parent.parent, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"


COMMIT = _commit()  # of the code that runs, whatever is edited meanwhile


@dataclass(frozen=True)
class Clip:
    """A CLIP to stand on: `name` in the results, `pretrained` as the command line takes it."""

    name: str = CLIP_NAME
    pretrained: str = CLIP_NAME


@dataclass(frozen=True)
class Setting:
    """One CLIP, family and split; the split's number is the seed too."""

    clip: Clip
    family: str
    split: int

    @property
    def name(self) -> str:
        """A folder name."""
        return f"{self.clip.name}-{self.family}-{self.split}"


class Log:
    """A watcher that prints a line now and then."""

    def __init__(self, name: str) -> None:
        self.name = name

    def note(self, text: str) -> None:
        """Print it."""
        print(f"{time.strftime('%H:%M:%S')} {self.name}: {text}", flush=True)

    def progress(self, what: str) -> Callable[[int, int], None]:
        """Say only that it begins."""
        self.note(what)
        return lambda done, total: None

    def step(self, step: Step) -> None:
        """Not a line for each update."""

    def validated(self, stage: str, episode: int, accuracy: float, interval: float) -> None:
        """A line for each validation."""
        self.note(f"{stage} {episode}: validation {accuracy:.1%} ± {interval:.1%}")


class Bench:
    """The rows of one setting, whose clips' stems are computed once for all."""

    def __init__(self, setting: Setting, scratch: Path) -> None:
        self.setting = setting
        self.folder = scratch / setting.name
        self.clips = scratch / f"clips-{setting.family}-{setting.split}"
        self.stores: tuple[ClipStore, ...] = ()
        self.tests: dict[str, ClipStore] = {}

    def cell(self, row: Row) -> Path:
        """Where the figures of a row go."""
        return RESULTS / self.setting.name / f"{row.name}.json"

    def work(self, row: Row) -> None:
        """Train and ask `row`, unless that is done."""
        if self.cell(row).is_file():
            return
        log = Log(f"{self.setting.name} {row.name}")
        if not (self.clips / "classes.json").is_file():
            log.note("drawing clips")
            write_clips(self.clips, self.setting.family, CLIPS, self.setting.split, 1, None, self.setting.split)  # type: ignore[arg-type]
        data = open_data(self.clips)
        model, facts = self._trained(row, data, log)
        records = [self._ask(row, model, data, shot) for shot in SHOTS]
        weight = model.config.fusion_weight
        facts |= {f"{record.result.shot}-shot": _figures(record) for record in records}
        log.note(", ".join(f"{r.result.shot}-shot {r.result.accuracy:.1%}" for r in records) + f", a = {weight:g}")
        _write(self.cell(row), {**self._about(row), **facts, "fusion_weight": weight})

    def _trained(self, row: Row, data: DataSet, log: Log) -> tuple[MaClip, dict[str, Any]]:
        if row.train is None and row.uses is None:
            return self._frozen(row, data), {"minutes": 0.0, "episodes": 0, "curve": []}
        source = find_row(row.uses) if row.uses else row
        run = self.folder / source.name
        if source.train is None:
            raise ValueError(f"{row.name} uses {source.name}, which is not trained")
        if not (run / MINUTES_FILE).is_file():
            self._train(source, run, log)
        curve = read_curve(run)
        minutes = json.loads((run / MINUTES_FILE).read_text())["minutes"]
        model = maclip.load(run, self.setting.clip.pretrained)
        return model, {"minutes": minutes, "episodes": curve[-1]["episode"], "curve": curve if row is source else []}

    def _train(self, row: Row, run: Path, log: Log) -> None:
        assert row.train is not None
        began = time.monotonic()
        spent = run / "spent.json"  # of attempts that were interrupted
        before = json.loads(spent.read_text())["minutes"] if spent.is_file() else 0.0
        config = dataclasses.replace(row.train, seed=self.setting.split)
        try:
            if (run / "state" / "progress.json").is_file():
                launch.resume(run, log, "cpu")
            else:
                trainer = launch.train(
                    self.clips, run, "tiny", self.setting.clip.pretrained, row.model, config, log, "cpu", self.stores
                )
                self.stores += trainer.stores
        finally:
            minutes = before + (time.monotonic() - began) / 60
            if run.is_dir():
                spent.write_text(json.dumps({"minutes": minutes}))
        _write(run / MINUTES_FILE, {"minutes": minutes})

    def _frozen(self, row: Row, data: DataSet) -> MaClip:
        """What is not trained takes its text weight from the validation classes, as training does."""
        from maclip.backbone import load_backbone

        backbone = load_backbone("tiny", self.setting.clip.pretrained)
        model = MaClip(backbone, row.model).eval()
        evaluator = Evaluator(model, ClipStore(model, data.split("val")))
        chosen = choose_fusion_weight(evaluator.evaluate(VALIDATION_WAY, 1, CHOOSING_EPISODES, VALIDATION_SEED + 1))
        return MaClip(backbone, dataclasses.replace(row.model, fusion_weight=chosen)).eval()

    def _ask(self, row: Row, model: MaClip, data: DataSet, shot: int) -> Record:
        classes = data.split("test")
        evaluator = Evaluator(model, ClipStore(model, classes), support=row.support)
        result = evaluator.evaluate(5, shot, EPISODES, seed=0)
        digest = episodes_sha256(classes, result)
        record = Record(
            RECORD_FORMAT, maclip.__version__, row.name, None, self.clips.name, "test", digest, result.by_class, result
        )
        write_record(self.folder / "records" / f"{row.name}-{shot}.json", record)
        return record

    def _about(self, row: Row) -> dict[str, Any]:
        return {
            "row": row.name,
            "clip": self.setting.clip.name,
            "family": self.setting.family,
            "split": self.setting.split,
            "commit": COMMIT,
        }


def read_curve(run: Path) -> list[dict[str, Any]]:
    """The validations in a run's `metrics.jsonl`, in order: stage, episode, accuracy."""
    lines = [json.loads(line) for line in (run / METRICS_FILE).read_text(encoding="utf-8").splitlines()]
    return [
        {"stage": line["stage"], "episode": line["episode"], "accuracy": round(line["validation"], 4)}
        for line in lines
        if "validation" in line
    ]


def _figures(record: Record) -> dict[str, Any]:
    result = record.result
    return {
        "accuracy": result.accuracy,
        "interval": result.interval,
        "by_fusion_weight": result.by_fusion_weight,
        "episodes_sha256": record.episodes_sha256,
        "by_episode": "".join(map(str, result.by_episode)),  # right answers of 5, a digit an episode
    }


def _write(path: Path, facts: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> None:
    """Work through the cells that were asked for; all by default, the most important first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation.run", description=__doc__)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--family", choices=FAMILIES, action="append")
    parser.add_argument("--split", type=int, action="append")
    parser.add_argument("--rows", default=",".join(row.name for row in ROWS))
    parser.add_argument("--backbone", default=CLIP_NAME, metavar="NAME=FILE", help="another tiny CLIP's weights")
    asked = parser.parse_args(arguments)
    name, _, file = asked.backbone.partition("=")
    clip = Clip(name, file or name)
    for split in asked.split or SPLITS:
        for family in asked.family or FAMILIES:
            bench = Bench(Setting(clip, family, split), asked.scratch)
            for row in asked.rows.split(","):
                bench.work(find_row(row))


if __name__ == "__main__":
    main(sys.argv[1:])
