"""The benchmark: all methods take turns, and each gets a row of figures."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from maclip.bench.plan import REFERENCE, Method, Settings
from maclip.bench.training import MEMORY_EXHAUSTED, Ready, Turn, train_in_turns
from maclip_runtime.errors import MaclipError
from maclip_runtime.tools.measuring.spread import Spread
from maclip_runtime.tools.measuring.turns import Subject

PICTURE_PIXELS = 32
UPDATE = "update"  # what a turn asks for

Note = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """The figures of one method; `failed` says why it has none.

    ratio: its rate divided by full fine-tuning's of the same round, so that what slows a round slows both.
    memory_mib: on a GPU the peak of its tensors; else the process's peak resident memory (`peak_mib`) less what Python
      and its libraries take; loading and caching are included.
    memory_ratio: that divided by full fine-tuning's.
    cache_mib: the part of it that holds stem tokens, which grows with the clips.
    losses: the mean loss of each turn's episodes.
    """

    key: str
    name: str
    failed: str | None = None
    device: str | None = None
    tuned: int | None = None
    parameters: int | None = None
    episodes_per_second: Spread | None = None
    ratio: Spread | None = None
    memory_mib: float | None = None
    memory_ratio: float | None = None
    peak_mib: float | None = None
    cache_mib: float | None = None
    losses: tuple[float, ...] = ()


@dataclass(frozen=True)
class Result:
    """A benchmark: its settings and a row for each method."""

    settings: Settings
    rows: tuple[Row, ...]


def run_bench(settings: Settings, methods: Mapping[str, Method], note: Note = lambda text: None) -> Result:
    """Measure `methods` in one run. One that dies or runs out of memory has a row that says so.

    Raises what building a model and its training raise for the user's settings: `backbone-unknown`, `depth-invalid`,
    `device-missing`, `too-few-clips` and the like.
    """
    with tempfile.TemporaryDirectory(prefix="maclip-bench-") as folder, ExitStack() as stack:
        note("drawing clips")
        data = Path(folder) / "clips"
        draw_clips(data, settings)
        subjects = {key: Subject(method.name, _ran_out_of_memory) for key, method in methods.items()}
        for key, subject in subjects.items():
            note(f"{subject.name}: first update")
            subject.start(stack, train_in_turns, methods[key], settings, data, Path(folder) / key)
        for turn in range(settings.rounds):
            for subject in subjects.values():
                note(f"round {turn + 1} of {settings.rounds}: {subject.name}")
                subject.turn(UPDATE)
        reference = subjects.get(REFERENCE)
        if reference is not None and reference.failed is not None:
            reference = None
        return Result(settings, tuple(_row(key, one, reference, settings) for key, one in subjects.items()))


def draw_clips(data: Path, settings: Settings) -> None:
    """Write `way` classes of clips, each a folder of small pictures of noise: the content does not change the cost."""
    rng = np.random.default_rng(settings.seed)
    for label, clip in itertools.product(range(settings.way), range(settings.clips_a_class)):
        folder = data / f"class_{label}" / str(clip)
        folder.mkdir(parents=True)
        for frame in range(settings.frames):
            pixels = rng.integers(0, 256, (PICTURE_PIXELS, PICTURE_PIXELS, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{frame:03d}.png")


def _ran_out_of_memory(error: MaclipError) -> bool:
    """Whether `error` is this method's alone."""
    return error.code == MEMORY_EXHAUSTED


def _row(key: str, subject: Subject, reference: Subject | None, settings: Settings) -> Row:
    if subject.failed is not None:
        return Row(key, subject.name, subject.failed)
    ready, turns = _answers(subject)
    memory = _memory(subject)
    ratio = memory_ratio = None
    if reference is not None:
        theirs = _answers(reference)[1]
        ratio = Spread.of([their.seconds / own.seconds for own, their in zip(turns, theirs, strict=True)])
        their_memory = _memory(reference)
        if memory is not None and their_memory is not None:
            memory_ratio = round(memory / their_memory, 3)
    return Row(
        key=key,
        name=subject.name,
        device=ready.device,
        tuned=ready.tuned,
        parameters=ready.parameters,
        episodes_per_second=Spread.of([settings.episodes / turn.seconds for turn in turns]),
        ratio=ratio,
        memory_mib=memory,
        memory_ratio=memory_ratio,
        peak_mib=turns[-1].resident_mib,
        cache_mib=ready.cache_mib,
        losses=tuple(round(turn.loss, 4) for turn in turns),
    )


def _answers(subject: Subject) -> tuple[Ready, list[Turn]]:
    """What a child sent: when it was ready, and for each turn."""
    ready: Ready = subject.facts
    turns: list[Turn] = subject.answers[UPDATE]
    return ready, turns


def _memory(subject: Subject) -> float | None:
    """Peak memory in MiB: of tensors on a GPU, else of the process beyond Python and its libraries."""
    ready, turns = _answers(subject)
    last, before = turns[-1], ready.before_mib
    if last.device_mib is not None:
        return round(last.device_mib, 1)
    if last.resident_mib is None or before is None:
        return None
    return round(last.resident_mib - before, 1)
