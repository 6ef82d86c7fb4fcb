"""What the export measured of a bundle: differences from torch, accuracy, and each int8 form with each engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GateFigure:
    """The largest differences between one graph and the float32 torch model on `cases` real inputs.

    `relative` is the largest absolute difference, divided by the largest magnitude of the torch output; `cosine` the
    smallest cosine along the last axis of the features; `probability` the largest difference of a probability (None
    where the graph gives none). `relative_limit` and `cosine_limit` are what the gate allows; None: not checked.
    """

    relative: float
    cosine: float
    probability: float | None
    relative_limit: float | None
    cosine_limit: float | None
    cases: int

    @property
    def is_checked(self) -> bool:
        """Whether there is a limit. A stem has none: its tokens hold remainders of rounding; its tower is checked."""
        return self.relative_limit is not None or self.cosine_limit is not None


@dataclass(frozen=True)
class GateAccuracy:
    """Few-shot accuracy of torch and of the bundle on the same episodes, 0..1.

    `loss` is torch's accuracy minus the bundle's, `interval` the half-width of its paired 95 % confidence interval over
    episodes, `limit` the largest allowed `loss + interval`, `probability` the largest difference of a probability;
    `measured_on` describes the clips.
    """

    torch: float
    bundle: float
    loss: float
    interval: float
    limit: float
    probability: float
    way: int
    shot: int
    episodes: int
    measured_on: str


def in_ms(value: float) -> str:
    """Milliseconds as people read them: three digits, whole from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@dataclass(frozen=True)
class Pair:
    """One int8 form with one engine.

    `engine` is "onnxruntime" or "openvino", `version` its version, `step_ms` the best milliseconds of a step (the stem
    on one frame and the tower on a clip, or the visual graph on a clip), `ratio` that by the fastest pair's.
    """

    form: str
    engine: str
    version: str
    step_ms: float
    ratio: float


@dataclass(frozen=True)
class Pairs:
    """The pairs that were measured when the bundle was exported, the fastest first.

    `machine` is the processor and its cores in words, `architecture` its architecture ("x86_64", "aarch64"); `best`
    names the fastest form in the bundle for each engine.
    """

    machine: str
    architecture: str
    measured: tuple[Pair, ...]
    best: dict[str, str]

    def find(self, engine: str, form: str) -> Pair | None:
        """The figures of one pair; None where it was not measured."""
        return next((pair for pair in self.measured if (pair.engine, pair.form) == (engine, form)), None)
