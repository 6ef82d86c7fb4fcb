"""The benchmark: all runners and the machine's own matrix products take turns, and each runner gets a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

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
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.errors import MaclipError
from maclip_runtime.tools.measuring.child import Child, serve
from maclip_runtime.tools.measuring.spread import Times
from maclip_runtime.tools.measuring.turns import Subject

BATCH_EVERY = 4  # rounds: a batch costs as much as that many clips

Note = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """The figures of one runner; `failed` says why it has none.

    clip: milliseconds of a batch of one.
    step: milliseconds of a stream's step, the stem on one frame and the tower on T.
    clips_per_second: in batches.
    ratio, step_ratio: eager torch's median on the same device divided by this one's.
    peak_share: operations a second of the fastest clip, divided by those of the fastest product in that precision.
    memory_mib: peak memory of its process less what was resident before the model was read.
    cosine: the lowest cosine of its features with eager torch's.
    """

    runner: str
    engine: str
    device: str
    precision: str
    failed: str | None = None
    clip: Times | None = None
    step: Times | None = None
    clips_per_second: float | None = None
    ratio: float | None = None
    step_ratio: float | None = None
    peak_share: float | None = None
    memory_mib: float | None = None
    cosine: float | None = None


@dataclass(frozen=True)
class Result:
    """A benchmark: settings, `flops` of a clip (an addition and a multiplication are two), best products, rows."""

    settings: Settings
    flops: int
    peaks: tuple[Rate, ...]
    rows: tuple[Row, ...]


class _Runner(Subject):
    """A runner while it is measured."""

    def __init__(self, spec: RunnerSpec, tolerates: Callable[[MaclipError], bool] = lambda error: True) -> None:
        super().__init__(spec.name, tolerates)
        self.spec = spec

    @property
    def ready(self) -> RunnerFacts:
        """What it said when it was ready; only of one that did not fail."""
        facts: RunnerFacts = self.facts
        return facts

    def turn(self, work: str) -> None:
        """Ask for `work`, if this runner can do it."""
        if self.failed is None and work in self.ready.works:
            super().turn(work)

    def times(self) -> dict[str, Times]:
        """Of each work."""
        return {work: Times.of(seconds) for work, seconds in self.answers.items()}


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
        eager = _Runner(EAGER, tolerates=lambda error: False)
        eager.start(stack, serve, TimedRunner, EAGER, source, inputs, settings.threads, contracts)
        if eager.failed is not None:
            raise MaclipError("bench-failed", f"Eager torch does not run: {eager.failed}.", "Look at its message.")
        model = eager.ready.model
        assert model is not None
        specs = torch_specs(compiled, model.cuda)
        for name, bundle in bundles:
            specs += bundle_specs(bundle, name)
        runners = [eager]
        for spec in specs:
            note(f"loading {spec.name}")
            runner = _Runner(spec)
            runner.start(stack, serve, TimedRunner, spec, source, inputs, settings.threads)
            runners.append(runner)
        with _products(runners, model, settings, note) as products:
            rates = _rounds(runners, products, settings, note)
        return _result(runners, rates, model, settings)


@contextmanager
def _products(runners: Sequence[_Runner], model: ModelFacts, settings: Settings, note: Note) -> Iterator[list[Child]]:
    """Children for the products in each precision that a runner multiplies in."""
    wanted: dict[tuple[str, str], list[str]] = {}
    for device, precision in sorted({(r.spec.device, r.spec.precision) for r in runners if r.failed is None}):
        for library in product_libraries(device, precision):
            wanted.setdefault((library, device), []).append(precision)
    with ExitStack() as stack:
        children = []
        for (library, device), precisions in wanted.items():
            note(f"matrix products of {library}")
            shapes = product_shapes(model.rows, model.width, device)
            # A library that is not installed, or lacks a precision, sets no peak.
            try:
                child = Child(serve, Products, library, device, tuple(precisions), shapes, settings.threads)
            except MaclipError:
                continue
            children.append(stack.enter_context(child))
        yield children


def _rounds(runners: Sequence[_Runner], products: Sequence[Child], settings: Settings, note: Note) -> list[Rate]:
    rates: list[Rate] = []
    for turn in range(settings.repeats):
        note(f"round {turn + 1} of {settings.repeats}")
        works = [CLIP, STEP, *([BATCH] if turn % BATCH_EVERY == 0 else [])]
        for work in works:
            for runner in runners:
                runner.turn(work)
        for product in products:
            rates += product.turn("products")
    return rates


def _result(runners: Sequence[_Runner], rates: list[Rate], model: ModelFacts, settings: Settings) -> Result:
    best: dict[tuple[str, str], Rate] = {}
    for rate in sorted(rates, key=lambda r: r.flops):
        best[rate.device, rate.precision] = rate
    reference = {r.spec.device: r for r in runners if r.spec.is_reference and r.failed is None}
    rows = tuple(_row(r, reference.get(r.spec.device), runners[0], best, model, settings) for r in runners)
    return Result(settings, model.flops, tuple(best.values()), rows)


def _row(
    runner: _Runner,
    reference: _Runner | None,
    eager: _Runner,
    peaks: dict[tuple[str, str], Rate],
    model: ModelFacts,
    settings: Settings,
) -> Row:
    spec = runner.spec
    row = Row(spec.name, spec.engine, spec.device, spec.precision, runner.failed)
    if runner.failed is not None:
        return row
    times, theirs = runner.times(), reference.times() if reference is not None else {}
    clip, step = times[CLIP], times.get(STEP)
    peak = peaks.get((spec.device, spec.precision))
    return Row(
        *(spec.name, spec.engine, spec.device, spec.precision, None),
        clip=clip,
        step=step,
        clips_per_second=settings.batch * 1000 / times[BATCH].p50,
        ratio=theirs[CLIP].p50 / clip.p50 if theirs else None,
        step_ratio=theirs[STEP].p50 / step.p50 if step is not None and STEP in theirs else None,
        peak_share=1000 * model.flops / clip.best / peak.flops if peak is not None else None,
        memory_mib=runner.ready.memory_mib,
        cosine=worst_cosine(runner.ready.features, eager.ready.features),
    )


def worst_cosine(found: Array, expected: Array) -> float:
    """The lowest cosine of a frame's features; [T, D'] each."""
    lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(expected, axis=-1)
    return float(((found * expected).sum(-1) / np.maximum(lengths, 1e-12)).min())
