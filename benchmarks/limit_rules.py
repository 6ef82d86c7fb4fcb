"""Who decides how far is too far: the limit that training learned, the gallery's own clips, or both.

    python -m benchmarks.limit_rules [--bundle demo/bundle] [--smallest] [--json FILE]

Galleries and streams are those of `benchmarks.events`. Each rule gives every gallery one limit: "prior" is the
bundle's, "measured" is measured on the gallery's clips without it, "both" as a bundle without a learned limit is used
(the prior where the gallery says too little), "mean", "smaller" and "larger" join the first two. A bundle without a
limit has "measured" alone. Rules are chosen on the validation set; the test set is only reported.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import add_bundle, bundle_facts, parse, parser, run
from benchmarks.drawn import DrawnSet, drawn_sets
from benchmarks.events import CLIPS_ENROLLED, DEFAULT_HOP, DEFAULT_SHARE, STREAMS_A_GALLERY, watch_all
from maclip.evaluation.streams.scoring import score_all
from maclip_runtime import Bundle, Decisions, Gallery
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.limits.measured import OwnDistances, best_limit, own_distances
from maclip_runtime.matching.index import Index, build_index
from maclip_runtime.reading.frames import Floats
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json

Rule = Callable[[float, float, float], float]  # of prior, measured, both

RULES: dict[str, Rule] = {
    "prior": lambda prior, measured, both: prior,
    "measured": lambda prior, measured, both: measured,
    "both": lambda prior, measured, both: both,
    "mean": lambda prior, measured, both: (prior + measured) / 2,
    "smaller": lambda prior, measured, both: min(prior, measured),
    "larger": lambda prior, measured, both: max(prior, measured),
}


def main() -> None:
    """Measure, print a table, and write JSON where asked to."""
    options = parser(__doc__)
    add_bundle(options)
    chosen = parse(options)
    machine, begun = machine_facts(), time.monotonic()
    limit = Bundle.open(chosen.bundle).manifest.limit
    prior = None if limit is None else limit.distance
    sets = drawn_sets(CLIPS_ENROLLED if chosen.smallest else None)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: measure(chosen.bundle, one, prior, Path(folder) / name) for name, one in sets.items()}
    content: dict[str, Any] = {
        "machine": machine,
        "bundle": bundle_facts(chosen.bundle),
        "prior": prior,
        "learned": limit is not None and limit.learned,
        "rules": found,
        "seconds": round(time.monotonic() - begun),
    }
    show(content["rules"])
    if chosen.json:
        write_json(chosen.json, content)


def measure(bundle: Path, drawn: DrawnSet, prior: float | None, folder: Path) -> dict[str, Any]:
    """Event figures of each rule on one set, and the mean limit that it gives."""
    items = watch_all(bundle, drawn, (DEFAULT_SHARE,), folder)[DEFAULT_SHARE]
    encoder = Encoder(Bundle.open(bundle), device="cpu")
    seen = [_own(folder / f"{number}.db", encoder) for number in range(drawn.galleries)]
    rows = {}
    for name in RULES if prior is not None else ("measured",):
        limits = [limit_by(RULES[name], one, prior) for one in seen]
        changed = []
        for place, one in enumerate(items):
            stream, step = divmod(place, STREAMS_A_GALLERY)
            limit = limits[(stream + step) % drawn.galleries]
            changed.append(dataclasses.replace(one, limits=np.full_like(one.limits, limit)))
        scores = score_all(changed, Decisions(), DEFAULT_HOP)
        rows[name] = {"limit": round(float(np.mean(limits)), 3), **scores.as_dict()}
    return rows


def limit_by(rule: Rule, seen: OwnDistances, prior: float | None) -> float:
    """A gallery's limit by `rule`; where the gallery says nothing, the prior or none."""
    known = math.inf if prior is None else prior
    found = (best_limit(seen.own, seen.others, one) for one in (None, prior))
    measured, both = (known if limit is None else limit for limit in found)
    return rule(known, measured, both)


def _own(path: Path, encoder: Encoder) -> OwnDistances:
    """What a gallery says about its own clips."""
    found: list[OwnDistances] = []
    with Gallery(path, contract=encoder.bundle.manifest.contract) as gallery:

        def keep(index: Index, by_clip: Mapping[int, Floats]) -> Floats:
            found.append(own_distances(gallery, encoder, index, by_clip))
            return index.limits

        build_index(gallery, encoder, keep)
    return found[0]


def show(rules: Mapping[str, Mapping[str, Any]]) -> None:
    """A table of each set."""
    console = results_console()
    for name, rows in rules.items():
        headings = ("rule", "mean limit", "F1", "precision", "recall", "false alarms/h", "latency s")
        made = table(f"{name}, defaults of Decisions", headings, ())
        fields = ("limit", "f1", "precision", "recall", "false_alarms_an_hour", "latency_median_s")
        for rule, row in rows.items():
            made.add_row(rule, *("" if row[field] is None else f"{row[field]:.2f}" for field in fields))
        console.print(made)


if __name__ == "__main__":
    run(main)
