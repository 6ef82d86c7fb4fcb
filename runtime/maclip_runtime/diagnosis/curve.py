"""A learning curve of this very gallery: what one more clip brought its classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maclip_runtime.diagnosis.evidence import Evidence
from maclip_runtime.diagnosis.leaving_out import MAX_STEPS, LeftOut
from maclip_runtime.diagnosis.report import LearningStep
from maclip_runtime.diagnosis.samples import Samples
from maclip_runtime.limits.intervals import mean_interval


def learning_curve(samples: Samples, left: Sequence[LeftOut], evidence: Evidence) -> list[LearningStep]:
    """The steps that can be measured, from 1 clip on; a class of n different clips takes part up to n - 1."""
    found = []
    for count in range(1, MAX_STEPS + 1):
        by_class: dict[int, list[tuple[float, float, float, float]]] = {}
        for one in left:
            now, more = one.by_count.get(count), one.by_count.get(count + 1)
            rival = float(evidence.rival_distance[one.place])
            if now is None or more is None or not np.isfinite(rival):
                continue
            # Of two classes alone, softmax(-distances) gives tanh of half the difference.
            lead, lead_next = (np.tanh((rival - far.astype(np.float64)) / 2) for far in (now, more))
            row = ((lead > 0).mean(), (lead_next > 0).mean(), lead.mean(), lead_next.mean())
            by_class.setdefault(int(samples.owner[one.place]), []).append(row)
        if not by_class:
            break
        means = np.array([np.mean(rows, axis=0) for rows in by_class.values()])  # (classes, 4)
        accuracy, accuracy_next, margin, margin_next = means.mean(axis=0).tolist()
        found.append(
            LearningStep(
                count,
                accuracy,
                accuracy_next,
                accuracy_next - accuracy,
                mean_interval((means[:, 1] - means[:, 0]).tolist()),
                margin,
                margin_next,
                margin_next - margin,
                mean_interval((means[:, 3] - means[:, 2]).tolist()),
                sum(map(len, by_class.values())),
                len(by_class),
            )
        )
    return found
