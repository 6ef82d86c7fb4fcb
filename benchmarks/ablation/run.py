"""Computes the cells of the ablation, several settings at once where asked to; what is done is kept.

    python -m benchmarks.ablation.run SCRATCH [--jobs 2] [--backbone nopos] [--family motion] [--split 1]
                                              [--rows tpcm,both] [--device cuda]

A cell is one row on one CLIP, one family and one split of the classes; the split is the seed too. Its figures go to
benchmarks/results/ablation/, its clips, runs and records of every answer to SCRATCH. Stopped at any moment it goes on
from there when it is called again. Set OMP_NUM_THREADS=1: the networks are too small for more.
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
    """One of `CLIPS` by its name, or another as NAME=FILE. Raises `weights-unavailable`."""
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
            "Give the file as NAME=FILE; one without positions is made by python -m maclip.tiny.pretrain "
            "--no-positions --out FOLDER.",
        )
    return clip


def missing(settings: Sequence[Setting], rows: Sequence[Row], results: Path = RESULTS) -> list[Setting]:
    """The settings of which a row is still to be computed."""
    return [s for s in settings if not all(cell_path(results, s, row).is_file() for row in rows)]


def work(setting: Setting, scratch: Path, rows: Sequence[Row], device: str, results: Path = RESULTS) -> None:
    """All `rows` of one setting, in order."""
    bench = Bench(setting, scratch, device, results)
    for row in rows:
        bench.work(row)


def work_all(settings: Iterable[Setting], jobs: int, do: Callable[[Setting], None]) -> None:
    """`do` each of `settings`, `jobs` at a time, each in a process. After a failure none begins; those that run end."""
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
                    Log("ablation").note(f"failed ({future.exception()}); what runs beside it comes to its end first")
                future.result()
            running |= {pool.submit(do, setting) for setting in islice(waiting, len(done))}


def main(arguments: list[str]) -> int:
    """Work through the cells that were asked for; all by default, the most important first."""
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
        print("Interrupted: the same command goes on.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except MaclipError as error:
        print(f"error[{error.code}]: {error.message}\nfix: {error.fix}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
