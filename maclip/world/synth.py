"""Writing generated clips: folder-per-class mp4 with `classes.json`, and long videos of several actions."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from maclip.segments import Segment
from maclip.world.classes import FAMILIES, SPLITS, ActionClass, Family, classes, find_class
from maclip.world.clips import FRAMES, MOTIONS, RATE, Pixels, clip_frames, make_stage, nothing
from maclip.world.video import encode, unwritable, write_whole
from maclip_runtime.errors import MaclipError

FORMAT = 1  # of classes.json
CLASSES_FILE = "classes.json"
DEFAULT_CLIPS: Mapping[str, int] = {"train": 24, "val": 16, "test": 16}  # clips per class
PAUSE_SECONDS = (1.0, 2.0)  # between two actions of a long video
LONG_VIDEO_SEED = 1_000_003  # no clip has this seed

Progress = Callable[[int, int], None]  # clips done, clips in all
Job = TypeVar("Job")


@dataclass(frozen=True)
class _Job:
    path: Path
    motion: ActionClass
    seed: tuple[int, int, int, int]


def _write_clip(job: _Job) -> None:
    rng = np.random.default_rng(job.seed)
    write_whole(job.path, encode(clip_frames(job.motion.motion, rng, job.motion.cast), RATE))


def refuse_unknown(family: str) -> None:
    """Raise `family-unknown` unless it is one of `FAMILIES`."""
    if family not in FAMILIES:
        raise MaclipError("family-unknown", f'No family "{family}".', f"Choose one of {', '.join(FAMILIES)}.")


def new_folder(out: Path) -> None:
    """Make the folder `out`. Raises `output-unwritable`, and `output-exists` if it is not empty."""
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise MaclipError(
                "output-exists", f"{out} exists already and is not empty.", "Choose another folder, or remove it first."
            )
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(out, error) from error


def run_jobs(write: Callable[[Job], None], jobs: Sequence[Job], workers: int) -> Iterator[None]:
    """Call `write`, a function of a module, with each job in `workers` processes; yields as they are done, in order.

    Raises what `write` raises, and `process-died`.
    """
    if workers <= 1:
        for job in jobs:
            write(job)
            yield
        return
    # Spawned, not forked: the caller may have threads of torch running. Chunks leave work for every process.
    processes = min(workers, max(len(jobs), 1))
    chunk = max(1, min(8, len(jobs) // processes))
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    try:
        for _ in pool.map(write, jobs, chunksize=chunk):
            yield
    except BrokenProcessPool as error:
        raise MaclipError(
            "process-died",
            "A process that writes clips ended before its work was done.",
            "In a script, call this under `if __name__ == '__main__':`, as spawned processes need it; else look for "
            "too little memory. With workers=1 no process is started.",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def write_clips(
    out: Path,
    family: Family,
    clips_per_class: int | Mapping[str, int] = DEFAULT_CLIPS,
    *,
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
    split_seed: int | None = None,
    splits: Iterable[str] = SPLITS,
    composed: bool = True,
) -> dict[str, object]:
    """Write clips as `out/<class>/<NNN>.mp4` and `out/classes.json`; return the content of `classes.json`.

    `family`: "motion" or "object-motion".
    `clips_per_class`: one number, or one for each split; default `DEFAULT_CLIPS`.
    `seed`: the same seed gives the same files; a clip does not depend on the number of other clips.
    `workers`: processes; default 1.
    `progress`: called with the clips done and the clips in all.
    `split_seed`: reshuffle the classes over the splits; None for the default splits.
    `splits`: which splits to write; all by default.
    `composed`: whether the motions for training include compositions; default True.

    `classes.json` is written last, so a folder without it is incomplete. Raises `family-unknown`, `output-unwritable`,
    `process-died`, and `output-exists` if `out` is not empty.
    """
    refuse_unknown(family)
    new_folder(out)
    wanted = tuple(splits)
    chosen = [one for one in classes(family, split_seed, composed=composed) if one.split in wanted]
    jobs = []
    for one in chosen:
        folder = out / one.slug
        try:
            folder.mkdir()
        except OSError as error:
            raise unwritable(folder, error) from error
        count = clips_per_class if isinstance(clips_per_class, int) else clips_per_class.get(one.split, 0)
        for index in range(count):
            identity = (seed, FAMILIES.index(family), one.seed, index)
            jobs.append(_Job(folder / f"{index:03d}.mp4", one, identity))
    for done, _ in enumerate(run_jobs(_write_clip, jobs, workers), start=1):
        if progress is not None:
            progress(done, len(jobs))
    content: dict[str, object] = {
        "format": FORMAT,
        "family": family,
        "seed": seed,
        "classes": {one.slug: {"name": one.name, "split": one.split, "mirror": one.mirror} for one in chosen},
    }
    write_whole(out / CLASSES_FILE, (json.dumps(content, indent=2) + "\n").encode())
    return content


def _long_frames(chosen: Sequence[ActionClass], pauses: Sequence[int], rng: np.random.Generator) -> Iterator[Pixels]:
    """One continuous scene: a pause, an action, a pause, ...; the scene is empty in the pauses."""
    total = sum(pauses) + FRAMES * len(chosen)
    stage = make_stage(rng, total)
    at = 0
    for turn, pause in enumerate(pauses):
        for _ in range(pause):
            yield stage.frame(at, at / total, nothing(0.0))
            at += 1
        if turn < len(chosen):
            script = MOTIONS[chosen[turn].motion](rng, chosen[turn].cast)
            for index in range(FRAMES):
                yield stage.frame(at, at / total, script(index / (FRAMES - 1)))
                at += 1


def long_video(path: Path, family: Family, names: Sequence[str], *, seed: int = 0) -> list[Segment]:
    """Write one mp4 in which the classes `names` (name or slug) happen in turn, with pauses between; return when.

    The segments are also written beside it, with the suffix `.json`. Raises `class-unknown`, `output-exists`,
    `output-unwritable`.
    """
    chosen = [find_class(family, name) for name in names]
    if path.exists():
        raise MaclipError("output-exists", f"{path} exists already.", "Choose another name, or remove it first.")
    rng = np.random.default_rng((seed, FAMILIES.index(family), LONG_VIDEO_SEED))
    low, high = (round(seconds * RATE) for seconds in PAUSE_SECONDS)
    pauses = [int(count) for count in rng.integers(low, high + 1, len(chosen) + 1)]
    segments, at = [], 0
    for one, pause in zip(chosen, pauses, strict=False):
        at += pause
        segments.append(Segment(one.name, round(at / RATE, 3), round((at + FRAMES) / RATE, 3)))
        at += FRAMES
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    write_whole(path, encode(_long_frames(chosen, pauses, rng), RATE))
    write_whole(path.with_suffix(".json"), (json.dumps([asdict(s) for s in segments], indent=2) + "\n").encode())
    return segments
