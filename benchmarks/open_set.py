"""How well whole clips of classes that were never enrolled are told from clips of enrolled ones, rule by rule.

    python -m benchmarks.open_set [--bundle demo/bundle] [--smallest] [--json FILE] [--figure FILE]

Random galleries of 1, 3 and 5 clips a class (`benchmarks.drawn`); the queries are other clips of all classes of the
set, half of which are strangers to a gallery, most of them the reverse of an enrolled action. A rule gives each query
a number, larger for strangers. Reported are means over galleries, with the standard error: the area under the ROC curve
(0.5 is chance), the share of strangers that pass where 95 % of known clips do, and what the gallery's own limit makes
of both. Rules are to be chosen on the validation set; the test set, other classes and other seeds, is only reported.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.command import add_bundle, bundle_facts, parse, parser, run
from benchmarks.drawn import DrawnSet, draw_clips, draw_gallery, drawn_sets, enroll
from maclip.evaluation.streams.open_set import Numbers, auroc, strangers_passing
from maclip_runtime import Bundle, Decisions, Gallery, Recognizer, read_clip
from maclip_runtime.decisions import judge
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.matching.distances import match_all
from maclip_runtime.matching.index import Index, make_prototype
from maclip_runtime.reading.frames import Floats, prepare, segment_indices
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json

SHOTS = (1, 3, 5)


@dataclass(frozen=True)
class Compared:
    """One gallery of C classes with n queries: distances and probabilities [n, C], and what rules normalise by.

    `truth` [n] is the query's class, -1 for a stranger. `itself` [n]: the query's distance to its own prototype.
    `nearest_clip` [n]: to the nearest single clip. `own` [C]: mean distance of a class's clips to the class without
    them, `others` [C]: mean distance of the other classes' clips to it; both NaN where there are none.
    """

    index: Index
    truth: npt.NDArray[np.int64]
    distances: Numbers
    probabilities: Numbers
    itself: Numbers
    nearest_clip: Numbers
    own: Numbers
    others: Numbers


def _likeliest(found: Compared, values: Numbers) -> Numbers:
    """`values` [n, C] or [C] at each query's likeliest class."""
    best = found.probabilities.argmax(axis=1)
    return values[best] if values.ndim == 1 else values[np.arange(len(best)), best]


def _ahead(values: Numbers) -> Numbers:
    """How far the largest of each row lies above the next."""
    ordered = np.sort(values, axis=1)
    return ordered[:, -1] - ordered[:, -2]


RULES: dict[str, Callable[[Compared], Numbers]] = {
    "distance": lambda f: _likeliest(f, f.distances),
    "probability": lambda f: -_likeliest(f, f.probabilities),
    "margin of probabilities": lambda f: -_ahead(f.probabilities),
    "margin of distances": lambda f: -_ahead(-f.distances),
    "distance less that to itself": lambda f: _likeliest(f, f.distances) - f.itself,
    "distance to the nearest clip": lambda f: f.nearest_clip,
    "distance less the class's own": lambda f: _likeliest(f, f.distances) - _likeliest(f, f.own),
    "distance less that of other classes": lambda f: _likeliest(f, f.distances) - _likeliest(f, f.others),
}


def main() -> None:
    """Measure, print a table, and write JSON and a figure where asked to."""
    options = parser(__doc__, figure="the ROC curves")
    add_bundle(options)
    chosen = parse(options)
    machine, begun = machine_facts(), time.monotonic()
    sets = drawn_sets(max(SHOTS) + 1 if chosen.smallest else None)
    found = {}
    for name, drawn in sets.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = compare(chosen.bundle, drawn, Path(folder))
    content = {
        "machine": machine,
        "bundle": bundle_facts(chosen.bundle),
        "drawn": {name: dataclasses.asdict(one) for name, one in sets.items()},
        "sets": {
            name: {f"{shots}-shot": summary(galleries) for shots, galleries in by_shots.items()}
            for name, by_shots in found.items()
        },
        "seconds": round(time.monotonic() - begun),
    }
    show(content)
    if chosen.json:
        write_json(chosen.json, content)
    if chosen.figure:
        draw(found, chosen.figure)


def compare(bundle: Path, drawn: DrawnSet, folder: Path) -> dict[int, list[Compared]]:
    """Every gallery of a set against its queries, by shots."""
    clips = draw_clips(drawn, folder / "clips")
    opened = Bundle.open(bundle)
    encoder = Encoder(opened, device="cpu")
    preprocess = opened.manifest.preprocess
    choose = partial(segment_indices, frames=opened.manifest.frames)
    features = {
        name: encoder.features(
            np.stack([read_clip(path, choose, lambda frame: prepare(frame, preprocess)).frames for path in paths])
        )
        for name, paths in clips.items()
    }
    found: dict[int, list[Compared]] = {shots: [] for shots in SHOTS}
    for number in range(drawn.galleries):
        names, order = draw_gallery(drawn, number)
        asked = {name: features[name][order[max(SHOTS) :]] for name in features}
        with Gallery(folder / f"{number}.db", contract=opened.manifest.contract) as gallery:
            recognizer = Recognizer(opened, gallery, encoder, Decisions())
            enrolled = 0
            for shots in SHOTS:
                index = enroll(recognizer, clips, names, order[enrolled:shots])
                enrolled = shots
                found[shots].append(_compare(recognizer, index, asked))
    return found


def _compare(recognizer: Recognizer, index: Index, asked: dict[str, Floats]) -> Compared:
    encoder = recognizer.encoder
    queries = np.concatenate(list(asked.values()))
    match = match_all(encoder, queries, index.prototypes, index.text, index.has_text)
    truth = [index.names.index(name) if name in index.names else -1 for name, many in asked.items() for _ in many]
    clips = recognizer.gallery.clips()
    prototypes = np.stack([make_prototype(encoder, clip) for clip in clips])
    labels = np.array([index.names.index(clip.class_name) for clip in clips])
    single = _distances(encoder, queries, prototypes)
    among = _distances(encoder, np.stack([clip.query for clip in clips]), index.prototypes)
    own = [
        [
            float(_distances(encoder, clips[place].query[None], prototypes[fellows].mean(axis=0)[None])[0, 0])
            for place in np.flatnonzero(labels == column)
            for fellows in [np.setdiff1d(np.flatnonzero(labels == column), place)]
            if len(fellows)
        ]
        for column in range(len(index.names))
    ]
    made = encoder.prototypes(queries)  # without text: as the matching graph itself treats a query
    return Compared(
        index,
        np.array(truth),
        match.distances.astype(float),
        match.probabilities.astype(float),
        np.array([_distances(encoder, one[None], two[None])[0, 0] for one, two in zip(queries, made, strict=True)]),
        single.min(axis=1),
        np.array([np.mean(values) if values else math.nan for values in own]),
        np.array([among[labels != column, column].mean() for column in range(len(index.names))]),
    )


def _distances(encoder: Encoder, queries: Floats, prototypes: Floats) -> Numbers:
    """Distances [n, P] of queries [n, T, D'] to prototypes [P, T, D']; texts do not count in a distance."""
    none = np.zeros((len(prototypes), prototypes.shape[-1]), np.float32), np.zeros(len(prototypes), np.bool_)
    return match_all(encoder, queries, prototypes, *none).distances.astype(float)


def summary(galleries: list[Compared]) -> dict[str, Any]:
    """Figures of every rule, and of the answers that are given by default."""
    rules: dict[str, Any] = {}
    for name, rule in RULES.items():
        values = [(rule(one), one.truth >= 0) for one in galleries]
        if any(np.isnan(numbers).any() for numbers, _ in values):
            continue
        areas = [auroc(numbers[known], numbers[~known]) for numbers, known in values]
        alarms = [strangers_passing(numbers[known], numbers[~known]) for numbers, known in values]
        rules[name] = {"auroc": _mean(areas), "false_alarms_at_95_recall": _mean(alarms)}
    answers = [_answers(one) for one in galleries]
    return {
        "galleries": len(galleries),
        "queries": sum(len(one.truth) for one in galleries),
        "closed_set_accuracy": _mean([a["closed"] for a in answers]),
        "answers": {key: _mean([a[key] for a in answers]) for key in ("right", "accepted", "refused")},
        "rules": rules,
    }


def _answers(found: Compared) -> dict[str, float]:
    """With the gallery's own limits: shares of known clips named rightly and accepted, of strangers refused."""
    known = found.truth >= 0
    verdicts = [
        judge(far.astype(np.float32), likely.astype(np.float32), found.index.names, found.index.limits, Decisions())
        for far, likely in zip(found.distances, found.probabilities, strict=True)
    ]
    accepted = np.array([not verdict.reason for verdict in verdicts])
    best = found.probabilities.argmax(axis=1)
    return {
        "closed": float((best == found.truth)[known].mean()),
        "right": float((accepted & (best == found.truth))[known].mean()),
        "accepted": float(accepted[known].mean()),
        "refused": float(1 - accepted[~known].mean()),
    }


def _mean(values: list[float]) -> dict[str, float | None]:
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    return {"mean": round(float(np.mean(values)), 4), "standard_error": None if error is None else round(error, 4)}


def show(content: dict[str, Any]) -> None:
    """A table for each set and number of shots."""
    console = results_console()
    headings = ("rule", "AUROC", "+-", "false alarms at 95 % recall", "+-")
    for name, by_shots in content["sets"].items():
        for shots, figures in by_shots.items():
            said = ", ".join(f"{key} {value['mean']:.1%}" for key, value in figures["answers"].items())
            title = f"{name}, {shots}: {said} of {figures['closed_set_accuracy']['mean']:.1%} without limit"
            rows = []
            for rule, row in figures["rules"].items():
                both = (row["auroc"], row["false_alarms_at_95_recall"])
                values = [one[key] for one in both for key in ("mean", "standard_error")]
                rows.append((rule, *("-" if value is None else f"{value:.3f}" for value in values)))
            console.print(table(title, headings, rows))


def draw(found: dict[str, dict[int, list[Compared]]], path: Path) -> None:
    """ROC curves of the rules at 3 shots, the galleries' curves averaged."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(11, 5), layout="constrained", squeeze=False)
    passing = np.linspace(0, 1, 101)  # share of strangers that pass
    for axis, (name, by_shots) in zip(axes[0], found.items(), strict=True):
        for rule, number in RULES.items():
            curves = []
            for one in by_shots[3]:
                values, known = number(one), one.truth >= 0
                limits = np.quantile(values[~known], passing)
                curves.append([(values[known] <= limit).mean() for limit in limits])
            axis.plot(passing, np.mean(curves, axis=0), label=rule, linewidth=2.5 if rule == "distance" else 1)
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        axis.set(title=f"{name}, 3-shot", xlabel="strangers that pass", ylabel="known clips that pass")
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    run(main)
