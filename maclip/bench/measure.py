"""The benchmark itself: turns that go round all methods, and what they come to."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from maclip.bench.child import Child, ChildFailed
from maclip.bench.plan import REFERENCE, Method, Settings
from maclip.bench.training import MEMORY_EXHAUSTED, Ready, Turn, train_in_turns
from maclip_runtime.errors import MaclipError

PICTURE_PIXELS = 32

Note = Callable[[str], None]


@dataclass(frozen=True)
class Spread:
    """The median over rounds, and the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """From one value a round."""
        return cls(*(round(float(v), 5) for v in (np.median(values), min(values), max(values))))


@dataclass(frozen=True)
class Row:
    """What one method came to; `failed` says why it has no figures.

    `ratio` is its rate by full fine-tuning's of the same round, so that what slows a round slows both. `memory_mib`:
    on a GPU what its tensors took at most; else the process's highest resident memory (`peak_mib`) less what Python and
    its libraries take, loading and caching included; `memory_ratio` is that by full fine-tuning's. `cache_mib` of it
    are stem tokens, which grow with the clips. `losses`: the mean of each turn's episodes.
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
    """A benchmark: what was asked and a row for each method."""

    settings: Settings
    rows: tuple[Row, ...]


def run_bench(settings: Settings, methods: Mapping[str, Method], note: Note = lambda text: None) -> Result:
    """Measure `methods` in one run. One that dies or finds no memory has a row that says so.

    Raises what building a model and its training raise of the user's making: `backbone-unknown`, `depth-invalid`,
    `device-missing`, `too-few-clips` and the like.
    """
    with tempfile.TemporaryDirectory(prefix="maclip-bench-") as folder, ExitStack() as stack:
        note("drawing clips")
        data = Path(folder) / "clips"
        draw_clips(data, settings)
        running = []
        for key, method in methods.items():
            note(f"{method.name}: first update")
            running.append(_Running(key, method))
            running[-1].start(settings, data, Path(folder) / key, stack)
        for turn in range(settings.rounds):
            for one in running:
                note(f"round {turn + 1} of {settings.rounds}: {one.method.name}")
                one.turn()
        reference = next((one for one in running if one.key == REFERENCE and one.failed is None), None)
        return Result(settings, tuple(_row(one, reference, settings) for one in running))


def draw_clips(data: Path, settings: Settings) -> None:
    """A folder of `way` classes of clips, each a folder of small pictures of noise: what they show changes no cost."""
    rng = np.random.default_rng(settings.seed)
    for label, clip in itertools.product(range(settings.way), range(settings.clips_a_class)):
        folder = data / f"class_{label}" / str(clip)
        folder.mkdir(parents=True)
        for frame in range(settings.frames):
            pixels = rng.integers(0, 256, (PICTURE_PIXELS, PICTURE_PIXELS, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{frame:03d}.png")


@dataclass
class _Running:
    """A method while it is measured."""

    key: str
    method: Method
    child: Child | None = None
    failed: str | None = None
    turns: list[Turn] = field(default_factory=list)

    @property
    def ready(self) -> Ready:
        assert self.child is not None
        return cast(Ready, self.child.facts)

    def start(self, settings: Settings, data: Path, run: Path, stack: ExitStack) -> None:
        with self._failing():
            self.child = stack.enter_context(Child(train_in_turns, self.method, settings, data, run))

    def turn(self) -> None:
        if self.failed is None and self.child is not None:
            with self._failing():
                self.turns.append(self.child.turn("update"))

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What is of the machine's making is this method's alone."""
        try:
            yield
        except ChildFailed as error:
            self.failed = str(error)
        except MaclipError as error:
            if error.code != MEMORY_EXHAUSTED:
                raise
            self.failed = error.message


def _row(one: _Running, reference: _Running | None, settings: Settings) -> Row:
    if one.failed is not None:
        return Row(one.key, one.method.name, one.failed)
    rates = [settings.episodes / turn.seconds for turn in one.turns]
    memory = _memory(one)
    ratio = memory_ratio = None
    if reference is not None:
        ratio = Spread.of(
            [theirs.seconds / own.seconds for own, theirs in zip(one.turns, reference.turns, strict=True)]
        )
        theirs = _memory(reference)
        memory_ratio = round(memory / theirs, 3) if memory is not None and theirs is not None else None
    return Row(
        key=one.key,
        name=one.method.name,
        device=one.ready.device,
        tuned=one.ready.tuned,
        parameters=one.ready.parameters,
        episodes_per_second=Spread.of(rates),
        ratio=ratio,
        memory_mib=memory,
        memory_ratio=memory_ratio,
        peak_mib=one.turns[-1].resident_mib,
        cache_mib=one.ready.cache_mib,
        losses=tuple(round(turn.loss, 4) for turn in one.turns),
    )


def _memory(one: _Running) -> float | None:
    """The most that was held, in MiB: by tensors on a GPU, else by the process beyond Python and its libraries."""
    last, before = one.turns[-1], one.ready.before_mib
    if last.device_mib is not None:
        return round(last.device_mib, 1)
    if last.resident_mib is None or before is None:
        return None
    return round(last.resident_mib - before, 1)
