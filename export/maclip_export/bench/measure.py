"""The benchmark itself: turns that go round all runners and the machine's own products, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np

from maclip_export.bench.peak import Products, Rate, product_libraries, product_shapes
from maclip_export.bench.plan import (
    BATCH,
    CLIP,
    EAGER,
    STEP,
    Inputs,
    ModelSource,
    RunnerSpec,
    Settings,
    bundle_specs,
    torch_specs,
)
from maclip_export.bench.runners import Array
from maclip_export.bench.timing import ModelFacts, RunnerFacts, TimedRunner
from maclip_export.bench.worker import Worker, WorkerFailed
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.errors import MaclipError

BATCH_EVERY = 4  # rounds: a batch costs as much as that many clips

Note = Callable[[str], None]


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one work: the best, and percentiles. Of fewer than 100 turns, p99 is nearly the worst."""

    best: float
    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """From the seconds of each turn."""
        p50, p90, p99 = np.percentile(seconds, (50, 90, 99))
        return cls(*(round(1000 * float(s), 4) for s in (min(seconds), p50, p90, p99)))


@dataclass(frozen=True)
class Row:
    """What one runner came to; `failed` says why it has no figures.

    `clip` is a batch of one, `step` a stream's step (the stem on one frame, the tower on T), `clips_per_second`
    that of batches. `ratio` is eager torch's median on the same device by this one's; `peak_share` the quickest
    clip's rate by the quickest product's in that precision; `cosine` the worst of the features with eager torch's.
    """

    runner: str
    engine: str
    device: str
    precision: str
    failed: str | None = None
    clip: Latency | None = None
    step: Latency | None = None
    clips_per_second: float | None = None
    ratio: float | None = None
    step_ratio: float | None = None
    peak_share: float | None = None
    memory_mib: float | None = None
    cosine: float | None = None


@dataclass(frozen=True)
class Result:
    """A benchmark: `flops` of a clip (an addition and a multiplication are two), the best products, the rows."""

    settings: Settings
    flops: int
    peaks: tuple[Rate, ...]
    rows: tuple[Row, ...]


@dataclass
class _Running:
    """A runner while it is measured."""

    spec: RunnerSpec
    worker: Worker | None = None
    facts: RunnerFacts | None = None
    failed: str | None = None
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def turn(self, work: str) -> None:
        if self.worker is None or self.facts is None or self.failed is not None or work not in self.facts.works:
            return
        try:
            self.seconds.setdefault(work, []).append(self.worker.turn(work))
        except (WorkerFailed, MaclipError) as error:
            self.failed = str(error)


def run_bench(
    source: ModelSource,
    bundles: Sequence[tuple[str, Bundle]],
    settings: Settings,
    compiled: bool = True,
    note: Note = lambda text: None,
) -> Result:
    """Measure torch and each named bundle in one run.

    Raises `contract-mismatch` where a bundle is of another model, and what loading the model raises. A runner that
    fails has a row that says so.
    """
    inputs = Inputs.of([bundle.manifest for _, bundle in bundles], settings.batch)
    contracts = [(name, bundle.manifest.contract) for name, bundle in bundles]
    with ExitStack() as stack:
        note("loading eager torch")
        eager = _Running(EAGER)
        try:
            eager.worker = stack.enter_context(Worker(TimedRunner, EAGER, source, inputs, settings.threads, contracts))
        except WorkerFailed as error:
            raise MaclipError("bench-failed", f"Eager torch does not run: {error}.", "Look at its message.") from error
        eager.facts = eager.worker.facts
        model = eager.worker.facts.model
        specs = torch_specs(compiled, model.cuda)
        for name, bundle in bundles:
            specs += bundle_specs(bundle, name)
        runners = [eager, *(_start(spec, source, inputs, settings, stack, note) for spec in specs)]
        with _products(runners, model, settings, note) as products:
            rates = _rounds(runners, products, settings, note)
        return _result(runners, rates, model, settings)


def _start(
    spec: RunnerSpec, source: ModelSource, inputs: Inputs, settings: Settings, stack: ExitStack, note: Note
) -> _Running:
    note(f"loading {spec.name}")
    running = _Running(spec)
    try:
        running.worker = stack.enter_context(Worker(TimedRunner, spec, source, inputs, settings.threads))
        running.facts = running.worker.facts
    except (WorkerFailed, MaclipError) as error:
        running.failed = str(error)
    return running


@contextmanager
def _products(runners: Sequence[_Running], model: ModelFacts, settings: Settings, note: Note) -> Iterator[list[Worker]]:
    """Workers for the products in each precision that a runner multiplies in."""
    wanted: dict[tuple[str, str], list[str]] = {}
    for device, precision in sorted({(r.spec.device, r.spec.precision) for r in runners if r.failed is None}):
        for library in product_libraries(device, precision):
            wanted.setdefault((library, device), []).append(precision)
    with ExitStack() as stack:
        workers = []
        for (library, device), precisions in wanted.items():
            note(f"matrix products of {library}")
            shapes = product_shapes(model.rows, model.width, device)
            # A library that is not installed, or lacks a precision, sets no peak.
            try:
                worker = Worker(Products, library, device, tuple(precisions), shapes, settings.threads)
            except (WorkerFailed, MaclipError):
                continue
            workers.append(stack.enter_context(worker))
        yield workers


def _rounds(runners: Sequence[_Running], products: Sequence[Worker], settings: Settings, note: Note) -> list[Rate]:
    rates: list[Rate] = []
    for turn in range(settings.repeats):
        note(f"round {turn + 1} of {settings.repeats}")
        works = [CLIP, STEP, *([BATCH] if turn % BATCH_EVERY == 0 else [])]
        for work in works:
            for runner in runners:
                runner.turn(work)
        for worker in products:
            rates += worker.turn("products")
    return rates


def _result(runners: Sequence[_Running], rates: list[Rate], model: ModelFacts, settings: Settings) -> Result:
    best: dict[tuple[str, str], Rate] = {}
    for rate in sorted(rates, key=lambda r: r.flops):
        best[rate.device, rate.precision] = rate
    reference = {r.spec.device: r for r in runners if r.spec.is_reference and r.failed is None}
    rows = tuple(_row(r, reference.get(r.spec.device), runners[0], best, model, settings) for r in runners)
    return Result(settings, model.flops, tuple(best.values()), rows)


def _row(
    runner: _Running,
    reference: _Running | None,
    eager: _Running,
    peaks: dict[tuple[str, str], Rate],
    model: ModelFacts,
    settings: Settings,
) -> Row:
    spec = runner.spec
    row = Row(spec.name, spec.engine, spec.device, spec.precision, runner.failed)
    if runner.failed is not None or runner.facts is None or eager.facts is None:
        return row
    latency = {work: Latency.of(seconds) for work, seconds in runner.seconds.items()}
    theirs = {work: Latency.of(s) for work, s in reference.seconds.items()} if reference is not None else {}
    clip, step = latency[CLIP], latency.get(STEP)
    peak = peaks.get((spec.device, spec.precision))
    return Row(
        *(spec.name, spec.engine, spec.device, spec.precision, None),
        clip=clip,
        step=step,
        clips_per_second=settings.batch * 1000 / latency[BATCH].p50,
        ratio=theirs[CLIP].p50 / clip.p50 if theirs else None,
        step_ratio=theirs[STEP].p50 / step.p50 if step is not None and STEP in theirs else None,
        peak_share=1000 * model.flops / clip.best / peak.flops if peak is not None else None,
        memory_mib=runner.facts.memory_mib,
        cosine=_worst_cosine(runner.facts.features, eager.facts.features),
    )


def _worst_cosine(found: Array, expected: Array) -> float:
    """The lowest over frames, of [T, D'] each."""
    lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(expected, axis=-1)
    return float(((found * expected).sum(-1) / np.maximum(lengths, 1e-12)).min())
