"""What an export has to say."""

from __future__ import annotations

from dataclasses import dataclass

from maclip_runtime.bundle.figures import GateAccuracy, GateFigure
from maclip_runtime.bundle.manifest import Census, Manifest


@dataclass(frozen=True)
class Exported:
    """One graph: bytes with its weights, seconds to make it, its contents, and how far it is from torch."""

    graph: str
    size: int
    seconds: float
    census: Census
    gate: GateFigure


@dataclass(frozen=True)
class Candidate:
    """One int8 form that was tried: the worst cosine of its features, and whether the bundle holds it."""

    form: str
    cosine: float
    kept: bool


@dataclass(frozen=True)
class Report:
    """What an export produced.

    graphs: a row for each graph.
    accuracy: few-shot accuracy beside torch's; None where it was not compared, which `notes` explains.
    candidates: the int8 forms that were tried.
    manifest: the manifest that was written.
    notes: sentences that the user should read.
    """

    graphs: tuple[Exported, ...]
    accuracy: GateAccuracy | None
    candidates: tuple[Candidate, ...]
    manifest: Manifest
    notes: tuple[str, ...] = ()
