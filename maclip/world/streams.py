"""Untrimmed videos of the drawn world: actions of different lengths, with rests between in which nobody is there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maclip.segments import Segment
from maclip.world.classes import FAMILIES, SPLITS, ActionClass, Family, Split, classes
from maclip.world.clips import MOTIONS, RATE, Pixels, make_stage, nothing
from maclip.world.synth import Progress, new_folder, refuse_unknown, run_jobs
from maclip.world.video import encode, write_whole

ACTION_SECONDS = (1.5, 2.7)
REST_SECONDS = (1.0, 3.0)
# Whoever steps into an empty picture appears, and vanishes at the end: true of every action of a stream.
TRUE_OF_ALL = ("appear", "vanish")
ANNOTATIONS_FILE = "annotations.json"
SUBSETS: dict[Split, str] = {"train": "training", "val": "validation", "test": "testing"}  # as ActivityNet says
STREAM_SEED = 1_000_033  # no clip has this seed
DEFAULT_ACTIONS = 12  # of a stream


@dataclass(frozen=True)
class StreamDrawing:
    """One stream: `frames`, uint8 [H, W, 3] each, drawn as they are asked for; how many; and what happens when."""

    frames: Iterator[Pixels]
    count: int
    segments: tuple[Segment, ...]


def draw_stream(turns: Sequence[ActionClass], rng: np.random.Generator) -> StreamDrawing:
    """The classes `turns` one after the other, each at random speed, with rests before, between and after."""
    lengths = rng.integers(round(ACTION_SECONDS[0] * RATE), round(ACTION_SECONDS[1] * RATE) + 1, len(turns)).tolist()
    rests = rng.integers(round(REST_SECONDS[0] * RATE), round(REST_SECONDS[1] * RATE) + 1, len(turns) + 1).tolist()
    segments, at = [], 0
    for one, length, before in zip(turns, lengths, rests, strict=False):
        at += before
        segments.append(Segment(one.name, at / RATE, (at + length) / RATE))
        at += length
    return StreamDrawing(_frames(turns, lengths, rests, rng), at + rests[-1], tuple(segments))


def _frames(
    turns: Sequence[ActionClass], lengths: Sequence[int], rests: Sequence[int], rng: np.random.Generator
) -> Iterator[Pixels]:
    total = sum(lengths) + sum(rests)
    stage = make_stage(rng, total)
    at = 0
    for turn, before in enumerate(rests):
        for _ in range(before):
            yield stage.frame(at, at / total, nothing(0.0))
            at += 1
        if turn < len(turns):
            script = MOTIONS[turns[turn].motion](rng, turns[turn].cast)
            for index in range(lengths[turn]):
                yield stage.frame(at, at / total, script(index / (lengths[turn] - 1)))
                at += 1


@dataclass(frozen=True)
class _Job:
    path: Path
    turns: tuple[ActionClass, ...]
    seed: tuple[int, ...]

    def draw(self) -> StreamDrawing:
        return draw_stream(self.turns, np.random.default_rng(self.seed))


def _write_stream(job: _Job) -> None:
    write_whole(job.path, encode(job.draw().frames, RATE))


def write_streams(
    out: Path,
    family: Family,
    splits: str | Iterable[str] = SPLITS,
    streams: int = 8,
    *,
    actions: int = DEFAULT_ACTIONS,
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
    split_seed: int | None = None,
) -> dict[str, object]:
    """Write untrimmed videos as `out/<split>-<NNN>.mp4` and `out/annotations.json`; return the content of the latter.

    A stream shows classes of one split. All classes of a split happen equally often, to within one, except those that
    are true of every action ("a shape appears"), which do not happen.

    family: "motion" or "object-motion".
    splits: one split or several; all by default.
    streams: of each split; default 8.
    actions: of each stream; default 12.
    seed: the same seed gives the same files, whatever the number of streams.
    workers: processes; default 1.
    progress: called with the streams done and the streams in all.
    split_seed: reshuffle the classes over the splits; None for the default splits.

    `annotations.json` has the form of ActivityNet (`maclip.data.untrimmed`) and is written last, so a folder without it
    is incomplete. Raises `family-unknown`, `output-unwritable`, `process-died`, and `output-exists` if `out` is not
    empty.
    """
    refuse_unknown(family)
    new_folder(out)
    wanted = (splits,) if isinstance(splits, str) else tuple(splits)
    jobs: list[tuple[Split, _Job]] = []
    for split in [one for one in SPLITS if one in wanted]:
        cast = [c for c in classes(family, split_seed) if c.split == split and c.motion not in TRUE_OF_ALL]
        identity = (seed, FAMILIES.index(family), STREAM_SEED, SPLITS.index(split))
        turns = _deal(cast, np.random.default_rng(identity))
        for number in range(streams):
            own = tuple(next(turns) for _ in range(actions))
            jobs.append((split, _Job(out / f"{split}-{number:03d}.mp4", own, (*identity, number))))
    for done, _ in enumerate(run_jobs(_write_stream, [job for _, job in jobs], workers), start=1):
        if progress is not None:
            progress(done, len(jobs))
    content: dict[str, object] = {"database": {job.path.stem: _entry(split, job) for split, job in jobs}}
    write_whole(out / ANNOTATIONS_FILE, (json.dumps(content, indent=1) + "\n").encode())
    return content


def _deal(cast: Sequence[ActionClass], rng: np.random.Generator) -> Iterator[ActionClass]:
    """Each class once in random order, again and again."""
    while cast:
        for index in rng.permutation(len(cast)).tolist():
            yield cast[index]


def _entry(split: Split, job: _Job) -> dict[str, object]:
    drawn = job.draw()
    return {
        "file": job.path.name,
        "subset": SUBSETS[split],
        "duration": round(drawn.count / RATE, 3),
        "annotations": [
            {"segment": [round(one.start_s, 3), round(one.end_s, 3)], "label": one.name} for one in drawn.segments
        ],
    }
