"""Compute the cells of the ablation, several settings at once with --jobs; finished cells are kept.

    python -m benchmarks.ablation.run SCRATCH [--jobs 2] [--backbone nopos] [--family motion] [--split 1]
                                              [--rows tpcm,both] [--device cuda]

A cell is one row on one CLIP, one family and one split of the classes; the split is also the seed. Its results go to
benchmarks/results/ablation/; clips, runs and records of every answer go to SCRATCH. The same command resumes an
interrupted run. Set OMP_NUM_THREADS=1: the networks are too small for more threads.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from functools import partial
from itertools import islice
from pathlib import Path

from benchmarks.ablation.bench import Bench, Log
from benchmarks.ablation.cells import CLIPS, FAMILIES, RESULTS, SPLITS, Clip, Setting, cell_path
from benchmarks.ablation.rows import ROWS, Row, find_row
from maclip_runtime.errors import EXIT_INTERRUPTED, MaclipError


def find_clip(asked: str) -> Clip:
    """A CLIP of `CLIPS` by name, or another as NAME=FILE. Raises `weights-unavailable`."""
    name, _, file = asked.partition("=")
    known = {clip.name: clip for clip in CLIPS}
    if file:
        clip = Clip(name, file)
    elif name in known:
        clip = known[name]
    else:
        raise MaclipError(
            "weights-unavailable", f"There is no CLIP {name!r}.", f"Give NAME=FILE, or one of: {', '.join(known)}."
        )
    if clip.pretrained != "tiny" and not Path(clip.pretrained).is_file():
        raise MaclipError(
            "weights-unavailable",
            f"{clip.pretrained} is not there.",
            "Give the file as NAME=FILE. To make one without positions: python -m maclip.tiny.pretrain "
            "--no-positions --out FOLDER.",
        )
    return clip


def missing(settings: Sequence[Setting], rows: Sequence[Row], results: Path = RESULTS) -> list[Setting]:
    """The settings that lack a row."""
    return [s for s in settings if not all(cell_path(results, s, row).is_file() for row in rows)]


def work(setting: Setting, scratch: Path, rows: Sequence[Row], device: str, results: Path = RESULTS) -> None:
    """Compute `rows` of one setting, in order."""
    bench = Bench(setting, scratch, device, results)
    for row in rows:
        bench.work(row)


def work_all(settings: Iterable[Setting], jobs: int, do: Callable[[Setting], None]) -> None:
    """Run `do` on each setting, `jobs` at a time, in processes. After a failure none starts; running ones finish."""
    if jobs == 1:
        for setting in settings:
            do(setting)
        return
    waiting = iter(settings)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(do, setting) for setting in islice(waiting, jobs)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                if future.exception():
                    Log("ablation").note(f"failed ({future.exception()}); waiting for the others that are running")
                future.result()
            running |= {pool.submit(do, setting) for setting in islice(waiting, len(done))}


def main(arguments: list[str]) -> int:
    """Compute the requested cells; all by default, the most important first."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--family", choices=FAMILIES, action="append")
    parser.add_argument("--split", type=int, action="append")
    parser.add_argument("--rows", default=",".join(row.name for row in ROWS))
    parser.add_argument(
        "--backbone", action="append", metavar="NAME[=FILE]", help=f"{', '.join(c.name for c in CLIPS)}, or a file"
    )
    parser.add_argument("--jobs", type=int, default=1, help="settings at a time (default 1)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, auto")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where cells go (default: the project's)")
    asked = parser.parse_args(arguments)
    try:
        rows = [find_row(name) for name in asked.rows.split(",")]
        settings = [
            Setting(find_clip(clip), family, split)
            for clip in asked.backbone or ["tiny"]
            for split in asked.split or SPLITS
            for family in asked.family or FAMILIES
        ]
        do = partial(work, scratch=asked.scratch, rows=rows, device=asked.device, results=asked.results)
        work_all(missing(settings, rows, asked.results), max(1, asked.jobs), do)
    except KeyboardInterrupt:
        print("Interrupted. The same command resumes.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except MaclipError as error:
        print(f"error[{error.code}]: {error.message}\nfix: {error.fix}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
