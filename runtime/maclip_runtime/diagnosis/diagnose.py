"""Leave-one-out over a gallery, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from maclip_runtime.diagnosis.commands import Commands
from maclip_runtime.diagnosis.curve import learning_curve
from maclip_runtime.diagnosis.evidence import NOBODY, Evidence, evidence_of
from maclip_runtime.diagnosis.findings import Findings
from maclip_runtime.diagnosis.leaving_out import LeftOut, Progress, distances_between, leave_out
from maclip_runtime.diagnosis.report import ClassReport, ClipReport, Diagnosis, Finding
from maclip_runtime.diagnosis.rules import judge_clips
from maclip_runtime.diagnosis.samples import Samples, read_samples
from maclip_runtime.diagnosis.words import quoted
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.gallery import Gallery
from maclip_runtime.limits.intervals import share_interval
from maclip_runtime.matching.index import Index


def diagnose(gallery: Gallery, encoder: Encoder, index: Index | None, progress: Progress | None = None) -> Diagnosis:
    """Say what is wrong with a gallery. `index` is its own, None if it has no class.

    progress: called with the number of clips that were left out so far, and of all.

    Raises `gallery-corrupt`, and what running a graph raises.
    """
    commands = Commands(str(encoder.bundle.path), str(gallery.path))
    if index is None:
        nothing = Finding(
            "empty", "The gallery has no classes.", "Enroll clips of an action.", (commands.enroll("NAME"),)
        )
        return Diagnosis(str(gallery.path), len(gallery.negatives()), (), (), (), (nothing,), ())
    samples = read_samples(gallery, encoder, index)
    left = leave_out(encoder, index, samples, progress)
    evidence = evidence_of(encoder, samples, left, len(index.names))
    classes = _classes(index, samples, evidence)
    curve = learning_curve(samples, left, evidence)
    verdicts = judge_clips(samples, evidence, [len(one.fellows) for one in left])
    stale = {info.name: info.stale for info in gallery.classes() if info.limit is not None}
    findings = [
        *_unusable(index.left_out, commands),
        *Findings(
            index.names,
            samples,
            evidence,
            verdicts,
            classes,
            index.limits,
            _farthest(index, samples, left),
            curve,
            distances_between(encoder, samples.negative_queries, index.prototypes),
            commands,
        ).all(),
        *_stale(stale, commands),
    ]
    return Diagnosis(
        str(gallery.path),
        len(samples.negatives),
        tuple(classes),
        tuple(_clips(index, samples, evidence)),
        tuple(curve),
        tuple(findings),
        tuple(_notes(index, evidence, bool(curve))),
    )


def _classes(index: Index, samples: Samples, evidence: Evidence) -> list[ClassReport]:
    found = []
    for column, name in enumerate(index.names):
        mine = samples.owner == column
        tested, right = mine & evidence.tested, mine & (evidence.answer == column)
        limit = float(index.limits[column])
        found.append(
            ClassReport(
                name,
                len(set(samples.shown[mine].tolist())),
                int(tested.sum()),
                int(right.sum()),
                share_interval(int(right.sum()), int(tested.sum())),
                None if math.isinf(limit) else limit,
                int((evidence.own[mine] > limit).sum()),
            )
        )
    return found


def _clips(index: Index, samples: Samples, evidence: Evidence) -> list[ClipReport]:
    found = []
    for place, clip in enumerate(samples.clips):
        own, rival = float(evidence.own[place]), int(evidence.rival[place])
        answer = int(evidence.answer[place])
        found.append(
            ClipReport(
                clip.id,
                clip.class_name,
                clip.source,
                None if answer == NOBODY else index.names[answer],
                None if answer == NOBODY else answer == int(samples.owner[place]),
                None if answer == NOBODY else float(evidence.margin[place]),
                None if math.isnan(own) else own,
                None if math.isnan(own) else bool(own <= index.limits[samples.owner[place]]),
                None if rival == NOBODY else index.names[rival],
                None if rival == NOBODY else float(evidence.rival_distance[place]),
                tuple(samples.clips[one].id for one in evidence.gains[place]),
                tuple(samples.clips[one].id for one in evidence.losses[place]),
            )
        )
    return found


def _farthest(index: Index, samples: Samples, left: list[LeftOut]) -> np.ndarray:
    """float32 [C], the distance of the farthest clip of the gallery to each class, its own clips left out."""
    far = np.stack([one.distances for one in left])
    for one in left:
        if not len(one.fellows):
            far[one.place, samples.owner[one.place]] = -np.inf
    return far.max(axis=0)


def _notes(index: Index, evidence: Evidence, curve: bool) -> list[str]:
    notes = []
    if len(index.names) == 1:
        notes.append(
            f"The gallery has one class, {index.names[0]!r}: whether clips are taken for another class is not "
            "measurable. Enroll a second action."
        )
    elif not evidence.tested.any():
        notes.append("No class has two different clips, so none can be left out: nothing was answered.")
    elif not curve:
        notes.append(
            "What one clip more would bring is not measurable: no class has three different clips, and one of them is "
            "left out each time."
        )
    return notes


def _unusable(names: Sequence[str], commands: Commands) -> list[Finding]:
    """Classes that cannot be matched at all."""
    return [
        Finding(
            "unusable",
            f"{name!r} is left out of all answers, because its features overflow.",
            "Remove it and enroll its clips again.",
            (commands.remove_class(name), commands.enroll(name)),
            (name,),
        )
        for name in names
    ]


def _stale(limits: Mapping[str, bool], commands: Commands) -> list[Finding]:
    """Classes whose calibrated limit no longer applies; `limits`: whether it is stale, by class."""
    stale = [name for name, is_stale in limits.items() if is_stale]
    if not stale:
        return []
    return [
        Finding(
            "stale-limit",
            f"The calibrated limits of {quoted(stale)} no longer count, because clips were added or removed since.",
            "Calibrate again.",
            (commands.calibrate(),),
            tuple(stale),
        )
    ]
