"""Train and test the rows of one setting, one after the other; finished work is kept, so an interrupted run resumes."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import maclip
from benchmarks.ablation.cells import CLIPS_A_CLASS, EPISODES, RESULTS, SHOTS, WAY, Setting, cell_path
from benchmarks.ablation.rows import Row, find_row
from maclip.backbones.loading import load_backbone
from maclip.config import Machine
from maclip.data.clip_store import ClipStore
from maclip.data.dataset import Dataset, open_folders
from maclip.evaluation.evaluator import Evaluator
from maclip.evaluation.features import store_for
from maclip.evaluation.record import RECORD_FORMAT, Record, clips_sha256, episodes_sha256, write_record
from maclip.evaluation.selection import choose_fusion_weight
from maclip.model.maclip import MaClip
from maclip.runs import METRICS_FILE, STATE_DIR
from maclip.training import api
from maclip.training.callbacks import Callbacks
from maclip.training.choosing import CHOOSING_EPISODES, VALIDATION_SEED, VALIDATION_WAY
from maclip.training.distributed import pick_device
from maclip.world.synth import CLASSES_FILE, write_clips
from maclip.writing import replacing

MINUTES_FILE = "minutes.json"  # in a finished run: minutes of its training, over all interruptions
SPENT_FILE = "spent.json"  # in an unfinished run: minutes so far


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"


COMMIT = _commit()  # read once, so that later edits do not change it


class Stopwatch:
    """Minutes of a training over all its interruptions, kept in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._before = json.loads(path.read_text())["minutes"] if path.is_file() else 0.0
        self._began = time.monotonic()

    @property
    def minutes(self) -> float:
        """Minutes so far."""
        return self._before + (time.monotonic() - self._began) / 60

    def keep(self) -> None:
        """Write the minutes so far, so that they survive a kill."""
        if self.path.parent.is_dir():
            _write(self.path, {"minutes": self.minutes})


class Log(Callbacks):
    """Prints the progress of a training; `keep` is called at each validation."""

    def __init__(self, name: str, keep: Callable[[], None] = lambda: None) -> None:
        self.name, self.keep = name, keep

    def note(self, text: str) -> None:
        """Print `text` with the time."""
        print(f"{time.strftime('%H:%M:%S')} {self.name}: {text}", flush=True)

    def progress(self, what: str) -> Callable[[int, int], None]:
        """Print only the start."""
        self.note(what)
        return lambda done, total: None

    def validated(self, stage: str, episode: int, accuracy: float, interval: float) -> None:
        """Print a line for each validation."""
        self.note(f"{stage} {episode}: validation {accuracy:.1%} ± {interval:.1%}")
        self.keep()


class Bench:
    """The rows of one setting; the stem of each clip is computed once for all of them."""

    def __init__(self, setting: Setting, scratch: Path, device: str = "cpu", results: Path = RESULTS) -> None:
        self.setting, self.device, self.results = setting, pick_device(device), results
        self.folder = scratch / setting.name
        self.clips = scratch / f"clips-{setting.family}-{setting.split}"
        # Without it decoding takes a third of the time. 3 GB for each family and split; can be deleted at the end.
        self.machine = Machine(device=self.device, frame_cache=scratch / f"frames-{setting.family}-{setting.split}")
        self.stores: tuple[ClipStore, ...] = ()

    def work(self, row: Row) -> None:
        """Train and test `row`, unless that is done."""
        path = cell_path(self.results, self.setting, row)
        if path.is_file():
            return
        log = Log(f"{self.setting.name} {row.name}")
        data = self._data(log)
        model, facts = self._trained(row, data)
        for shot, record in self._ask(row, model, data).items():
            facts[f"{shot}-shot"] = _figures(record)
            log.note(f"{shot}-shot {record.result.accuracy:.1%}, a = {record.result.fusion_weight:g}")
        _write(path, {**self._about(row), **facts, "fusion_weight": model.config.text.fusion_weight})

    def _data(self, log: Log) -> Dataset:
        """The clips of this family and split, drawn if they are missing or incomplete."""
        if not (self.clips / CLASSES_FILE).is_file():
            log.note("drawing clips")
            self.clips.parent.mkdir(parents=True, exist_ok=True)
            seed = self.setting.split
            with tempfile.TemporaryDirectory(dir=self.clips.parent) as folder:
                drawn = Path(folder) / "clips"
                # The simple motions alone, as in all the cells that are committed.
                write_clips(
                    drawn, self.setting.family, CLIPS_A_CLASS,  # type: ignore[arg-type]
                    seed=seed, split_seed=seed, composed=False,
                )  # fmt: skip
                if not (self.clips / CLASSES_FILE).is_file():  # unless the process of another CLIP was faster
                    shutil.rmtree(self.clips, ignore_errors=True)
                    drawn.rename(self.clips)
        return open_folders(self.clips)

    def _trained(self, row: Row, data: Dataset) -> tuple[MaClip, dict[str, Any]]:
        """The model of `row` and the facts of its training."""
        if not row.trained:
            return self._frozen(row, data), {"minutes": 0.0, "episodes": 0, "curve": [], "training": None}
        source = find_row(row.uses) if row.uses else row
        parts = [self._run(find_row(source.begins))] if source.begins else []
        run = self._run(source)
        curves = [read_curve(part) for part in (*parts, run)]
        facts = {
            "minutes": sum(json.loads((part / MINUTES_FILE).read_text())["minutes"] for part in (*parts, run)),
            "episodes": sum(episodes_of(curve) for curve in curves),
            "curve": [point for curve in curves for point in curve] if row is source else [],
            "training": training_accuracy(run) if row is source else None,
        }
        return maclip.load(run, self.setting.clip.pretrained).to(self.device), facts

    def _run(self, row: Row) -> Path:
        """The run of `row`, trained if needed."""
        run = self.folder / row.name
        if not (run / MINUTES_FILE).is_file():
            self._train(row, run)
        return run

    def _train(self, row: Row, run: Path) -> None:
        if row.train is None:
            raise ValueError(f"{row.name} has no training of its own that others could use")
        watch = Stopwatch(run / SPENT_FILE)
        log = Log(f"{self.setting.name} {row.name}", watch.keep)
        try:
            if any((run / STATE_DIR).glob("[!.]*")):
                trainer = api.resume(run, machine=self.machine, callbacks=log)
            else:
                shutil.rmtree(run, ignore_errors=True)  # interrupted before the first state was saved
                config = row.train.changed(seed=self.setting.split)
                pretrained = self.setting.clip.pretrained
                init = self._run(find_row(row.begins)) if row.begins else None
                trainer = api.train_new(
                    self.clips, run, "tiny", pretrained, row.model, config,
                    machine=self.machine, init=init, callbacks=log, reuse=self.stores,
                )  # fmt: skip
            self.stores += trainer.stores
        finally:
            watch.keep()
        _write(run / MINUTES_FILE, {"minutes": watch.minutes})

    def _frozen(self, row: Row, data: Dataset) -> MaClip:
        """A model without training; its text weight is chosen on validation classes, as after a training."""
        backbone = load_backbone("tiny", self.setting.clip.pretrained)
        model = MaClip(backbone, row.model).to(self.device).eval()
        weight = row.weight
        if weight is None:
            evaluator = Evaluator(model, store_for(model, data.split("val")))
            weight = choose_fusion_weight(evaluator.evaluate(VALIDATION_WAY, 1, CHOOSING_EPISODES, VALIDATION_SEED + 1))
        return MaClip(backbone, row.model.changed(fusion_weight=weight)).to(self.device).eval()

    def _ask(self, row: Row, model: MaClip, data: Dataset) -> dict[int, Record]:
        """Test episodes by shot."""
        classes = data.split("test")
        evaluator = Evaluator(model, store_for(model, classes), support=row.support)
        records = {}
        for shot in SHOTS:
            result = evaluator.evaluate(WAY, shot, EPISODES, seed=0)
            digest, by_class = episodes_sha256(classes, result), result.by_class
            about = (RECORD_FORMAT, maclip.__version__, row.name, None, self.clips.name, "test")
            records[shot] = Record(*about, digest, by_class, result, (), clips_sha256(classes), ())
            write_record(self.folder / "records" / f"{row.name}-{shot}.json", records[shot])
        return records

    def _about(self, row: Row) -> dict[str, Any]:
        return {
            "row": row.name,
            "clip": self.setting.clip.name,
            "family": self.setting.family,
            "split": self.setting.split,
            "commit": COMMIT,
            "device": self.device,
        }


def read_curve(run: Path) -> list[dict[str, Any]]:
    """The validations in a run's `metrics.jsonl`, in order: stage, episode, accuracy.

    A validation that was repeated after a kill counts once.
    """
    found = {(m["stage"], m["episode"]): m["validation"] for m in _metrics(run) if "validation" in m}
    return [{"stage": s, "episode": e, "accuracy": round(accuracy, 4)} for (s, e), accuracy in found.items()]


def training_accuracy(run: Path) -> float:
    """The share of right answers, 0..1, in the last tenth of the training episodes of the last stage."""
    found = {(m["stage"], m["episode"]): m["accuracy"] for m in _metrics(run) if "accuracy" in m}
    stage, last = next(reversed(found))
    return float(np.mean([right for (s, episode), right in found.items() if s == stage and episode > 0.9 * last]))


def _metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / METRICS_FILE).read_text(encoding="utf-8").splitlines()]


def episodes_of(curve: list[dict[str, Any]]) -> int:
    """Episodes of all stages of a training: the last validation of each stage."""
    return sum({point["stage"]: int(point["episode"]) for point in curve}.values())


def _figures(record: Record) -> dict[str, Any]:
    result = record.result
    return {
        "accuracy": result.accuracy,
        "interval": result.interval,
        "fusion_weight": result.fusion_weight,
        "by_fusion_weight": result.by_fusion_weight,
        "episodes_sha256": record.episodes_sha256,
        "by_episode": "".join(map(str, result.by_episode)),  # right answers of 5, a digit an episode
    }


def _write(path: Path, facts: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
