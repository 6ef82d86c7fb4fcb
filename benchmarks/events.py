"""How well events agree with what happens in drawn streams, and what each number of `Decisions` does to that.

    python -m benchmarks.events [--bundle demo/bundle] [--smallest] [--json FILE] [--figure FILE]

Streams and galleries are drawn anew by seed (`benchmarks.drawn`): galleries of three clips a class, each watching three
streams in which the enrolled actions, strangers and rests alternate. Each window passes the network once; decisions are
tried on the distances and probabilities that are kept.

Defaults are those of `Decisions` and of `Recognizer.watch`, chosen with an earlier model. A sweep changes one number,
the others at their defaults, on the validation set alone; the highest F1 is bold. Of settings within 0.01 of it the
one with fewer false alarms is chosen, then the cheaper one, unless it would break what a user set (see `Decisions`).
The test set, other classes and other seeds, is scored with the defaults. An action is found if an event of its name
overlaps it; a second one is "repeated", one that overlaps no such action false. What was withdrawn counts as neither.
"boundary s" is the median error of the beginnings and ends of what was found. "cut exactly" is what the model and its
limit reach when told where each action begins and ends, strangers included: no rule over windows can hope for much
more.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.command import add_bundle, bundle_facts, parse, parser, run
from benchmarks.drawn import (
    DrawnSet,
    DrawnStream,
    Windows,
    cut_features,
    draw_clips,
    draw_gallery,
    draw_stream,
    drawn_sets,
    enroll,
    windows_of,
)
from maclip.evaluation.streams.scoring import Scores, Watched, score_all, total
from maclip_runtime import Bundle, Decisions, Gallery, Recognizer
from maclip_runtime.decisions import judge
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.matching.distances import match_all
from maclip_runtime.matching.index import WINDOW_SHARE, Index
from maclip_runtime.reading.frames import Floats
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json

CLIPS_ENROLLED = 3
STREAMS_A_GALLERY = 3
WINDOW_SHARES = (0.5, 0.75, 1.0)  # of the enrolled clips' duration
HOPS = (1, 2, 4)  # eighths of a window, for a bundle of 8 frames
SHIFTS = (-8.0, -6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 6.0, 8.0, math.inf)  # added to the limit
SWEEPS: dict[str, tuple[Any, ...]] = {
    "min_margin": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
    "min_score": (0.0, 0.2, 0.4, 0.6, 0.8),
    "min_duration_s": (0.0, 0.25, 0.5, 0.75, 1.0),
    "gap_s": (None, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5),
    "overlap": (False, True),
}
DEFAULT_SHARE, DEFAULT_HOP = WINDOW_SHARE, 2  # a quarter of a window of 8 frames


@dataclass(frozen=True)
class WatchedAndCut(Watched):
    """What was measured of a stream, and the same for every action cut out exactly, named by `cut_names`."""

    cut_names: tuple[str, ...]
    cut_distances: Floats
    cut_probabilities: Floats


def main() -> None:
    """Measure, print tables, and write JSON and a figure where asked to."""
    options = parser(__doc__, figure="the figures over the limit")
    add_bundle(options)
    chosen = parse(options)
    machine, begun = machine_facts(), time.monotonic()
    sets = drawn_sets(CLIPS_ENROLLED if chosen.smallest else None)
    shares = (DEFAULT_SHARE,) if chosen.smallest else WINDOW_SHARES
    with tempfile.TemporaryDirectory() as folder:
        validation = watch_all(chosen.bundle, sets["validation"], shares, Path(folder) / "val")
        test = watch_all(chosen.bundle, sets["test"], (DEFAULT_SHARE,), Path(folder) / "test")
    content = {
        "machine": machine,
        "bundle": bundle_facts(chosen.bundle),
        "drawn": {name: dataclasses.asdict(one) for name, one in sets.items()},
        **measure(validation, test),
        "seconds": round(time.monotonic() - begun),
    }
    show(content)
    if chosen.json:
        write_json(chosen.json, content)
    if chosen.figure:
        draw(content, chosen.figure)


def watch_all(bundle: Path, drawn: DrawnSet, shares: Sequence[float], folder: Path) -> dict[float, list[WatchedAndCut]]:
    """By window length, as a share of the enrolled clips' duration: every gallery on its streams."""
    clips = draw_clips(drawn, folder / "clips")
    opened = Bundle.open(bundle)
    encoder = Encoder(opened, device="cpu")
    galleries: list[Index] = []
    for number in range(drawn.galleries):
        names, order = draw_gallery(drawn, number)
        with Gallery(folder / f"{number}.db", contract=opened.manifest.contract) as gallery:
            recognizer = Recognizer(opened, gallery, encoder, Decisions())
            galleries.append(enroll(recognizer, clips, names, order[:CLIPS_ENROLLED]))
    found: dict[float, list[WatchedAndCut]] = {share: [] for share in shares}
    for number in range(drawn.streams):
        stream = draw_stream(drawn, number)
        cut = cut_features(stream, encoder)
        for share in shares:
            windows = windows_of(stream, encoder, share * galleries[0].duration_s)
            for step in range(STREAMS_A_GALLERY):
                index = galleries[(number + step) % len(galleries)]
                found[share].append(_watched(encoder, index, stream, windows, cut))
    return found


def _watched(encoder: Encoder, index: Index, stream: DrawnStream, windows: Windows, cut: Floats) -> WatchedAndCut:
    seen, whole = (
        match_all(encoder, features, index.prototypes, index.text, index.has_text)
        for features in (windows.features, cut)
    )
    return WatchedAndCut(
        index.names,
        index.limits,
        seen.distances,
        seen.probabilities,
        windows.start_s,
        windows.window_s,
        windows.hop_s,
        stream.duration_s,
        tuple(action for action in stream.segments if action.name in index.names),
        tuple(action.name for action in stream.segments),
        whole.distances,
        whole.probabilities,
    )


def measure(validation: dict[float, list[WatchedAndCut]], test: dict[float, list[WatchedAndCut]]) -> dict[str, Any]:
    """Every sweep on the validation set, and both sets with the defaults."""
    defaults = Decisions()
    default, reported = validation[DEFAULT_SHARE], test[DEFAULT_SHARE]
    windows = [
        {"window": share, "hop_eighths": hop, **score_all(items, defaults, hop).as_dict()}
        for share, items in validation.items()
        for hop in HOPS
    ]
    sweeps = {
        field: [
            {
                "value": value,
                **score_all(default, dataclasses.replace(defaults, **{field: value}), DEFAULT_HOP).as_dict(),
            }
            for value in values
        ]
        for field, values in SWEEPS.items()
    }
    shifts = {
        name: [_shifted(items, defaults, shift) for shift in SHIFTS]
        for name, items in (("validation", default), ("test", reported))
    }
    sets = {
        name: {
            "streams": score_all(items, defaults, DEFAULT_HOP).as_dict(),
            "cut_exactly": total([score_cut(one, defaults) for one in items]).as_dict(),
            "hours": round(sum(one.duration_s for one in items) / 3600, 3),
            "happenings": sum(len(one.cut_names) for one in items),
        }
        for name, items in (("validation", default), ("test", reported))
    }
    return {
        "defaults": {**dataclasses.asdict(defaults), "window": DEFAULT_SHARE, "hop_eighths": DEFAULT_HOP},
        "sets": sets,
        "windows": windows,
        "sweeps": sweeps,
        "limit": shifts,
    }


def score_cut(watched: WatchedAndCut, decisions: Decisions) -> Scores:
    """As if it were known exactly when every action begins and ends: one answer each, as for a whole clip."""
    found = false_alarms = 0
    for name, far, likely in zip(watched.cut_names, watched.cut_distances, watched.cut_probabilities, strict=True):
        verdict = judge(far, likely, watched.names, watched.limits, decisions)
        found += verdict.label == name
        false_alarms += not verdict.reason and verdict.label != name
    return Scores(len(watched.actions), found, 0, false_alarms, watched.duration_s / 3600)


def _shifted(items: Sequence[Watched], decisions: Decisions, shift: float) -> dict[str, Any]:
    scores: Scores = score_all(items, decisions, DEFAULT_HOP, shift)
    return {"shift": None if math.isinf(shift) else shift, **scores.as_dict()}


def show(content: dict[str, Any]) -> None:
    """Tables of all figures."""
    console = results_console()
    columns = ("f1", "precision", "recall", "false_alarms_an_hour", "latency_median_s", "boundary_median_s")
    counts = ("repeated", "withdrawn")

    def print_rows(title: str, first: str, rows: Sequence[tuple[str, dict[str, Any]]]) -> None:
        headings = (first, "F1", "precision", "recall", "false alarms/h", "latency s", "boundary s", *counts)
        made = table(title, headings, ())
        best = max(row["f1"] for _, row in rows)
        for name, row in rows:
            figures = ["" if row[c] is None else f"{row[c]:.2f}" for c in columns] + [str(row[c]) for c in counts]
            made.add_row(name, *figures, style="bold" if row["f1"] == best else None)
        console.print(made)

    console.print(content["defaults"])
    for field, rows in content["sweeps"].items():
        print_rows(f"{field}, validation", field, [(str(row["value"]), row) for row in rows])
    rows = [(f"{row['window']:g}, {row['hop_eighths']}/8", row) for row in content["windows"]]
    print_rows("window over clip, hop over window, validation", "window", rows)
    for name, limited in content["limit"].items():
        print_rows(f"added to the limit, {name}", "shift", [(f"{row['shift']}", row) for row in limited])
    for name, each in content["sets"].items():
        print_rows(f"{name}, defaults", "what", [(k, each[k]) for k in ("streams", "cut_exactly")])


def draw(content: dict[str, Any], path: Path) -> None:
    """Precision, recall, false alarms and latency over what is added to the limit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 4.4), layout="constrained")
    for name, style in (("validation", "--"), ("test", "-")):
        rows = [row for row in content["limit"][name] if row["shift"] is not None]
        x = [row["shift"] for row in rows]
        for field, colour in (("precision", "tab:blue"), ("recall", "tab:orange"), ("f1", "tab:green")):
            axes[0].plot(x, [row[field] for row in rows], style, color=colour, label=f"{field}, {name}")
        axes[1].plot(x, [row["false_alarms_an_hour"] for row in rows], style, color="tab:red", label=name)
        delays = [math.nan if row["latency_median_s"] is None else row["latency_median_s"] for row in rows]
        axes[2].plot(x, delays, style, color="tab:purple", label=name)
    labels = ("share", "false alarms an hour", "median latency, seconds")
    for axis, label in zip(axes, labels, strict=True):
        axis.axvline(0, color="0.6", linewidth=1)
        axis.set(xlabel="added to the gallery's own limit", ylabel=label, ylim=(0, None))
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    run(main)
