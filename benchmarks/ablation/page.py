"""Write docs/ablation.md and its charts from the cells; no number on the page is typed by hand.

    python -m benchmarks.ablation.page

notes.md beside this file explains the numbers, and holds none itself.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.ablation.cells import (
    CLIPS,
    CLIPS_A_CLASS,
    EPISODES,
    FAMILIES,
    RESULTS,
    SHOTS,
    SPLITS,
    WAY,
    Cell,
    Cells,
    cells_sha256,
    read_cells,
)
from benchmarks.ablation.claims import (
    BASELINES,
    CHAINS,
    CHOICES,
    HOLDS,
    METRICS,
    MISSING,
    ORDERING,
    PARTIAL,
    TEXT,
    Claim,
    Pooled,
    accuracy,
    difference,
    judge,
    points,
    tally,
)
from benchmarks.ablation.pictures import draw_bars, draw_curves
from benchmarks.ablation.rows import (
    FROM_NOTHING,
    FULL,
    JOINT_EPISODES,
    ON_HEAD_CROPS,
    PATIENCE,
    PROTOTYPE_EPISODES,
    RANDOM_VIEWS,
    SHOWN,
    TRAIN,
    VALIDATIONS,
    Row,
    find_row,
)
from benchmarks.ablation.summary import draw_summary, summary
from maclip_runtime.errors import MaclipError

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "ablation.md"
NOTES = Path(__file__).with_name("notes.md")
TYPED_FIGURE = re.compile(r"\d+[.,]\d|\d\s*(%|±|points|percent|times)")
COLUMNS = [(family, shot) for family in FAMILIES for shot in SHOTS]
NONE = "—"
SUMMARY = "ablation_summary.png"


def write_page(cells: Cells, notes: str) -> str:
    """The whole page as Markdown. Raises `notes-invalid` if `notes` holds a measured number."""
    typed = TYPED_FIGURE.search(notes)
    if typed:
        raise MaclipError(
            "notes-invalid",
            f"The notes hold a number, {typed.group()!r}.",
            "Say it without: numbers belong in the tables, which are computed.",
        )
    parts = [
        *_head(),
        *summary(cells, SUMMARY),
        "## How it was measured",
        *_folded("Words, settings, and how sure the figures are", _method(cells)),
        "## The paper's ordering",
        "Does each part bring what the paper says: nothing < TPCM only < adapters only < both, and does the text token "
        "help? A cell gives the difference in percentage points.",
        *_folded("All verdicts", [*_claims(cells, ORDERING), _chain(cells)]),
        "## Against what people would pick instead",
        "The full model with one adapted block (`both`), with all (`k-all`, the paper) and with all from nothing "
        "(`k-all-anew`), against each baseline on the same episodes.",
        *_folded(
            "All verdicts",
            [
                "CLIP-FSAR is represented by its prototype module, in which the text is one more row of a temporal "
                "transformer; losses, fusion, metric and choice of states are those of the method. Zero-shot sees no "
                "support clip, so 1-shot and 5-shot differ only by their queries.",
                *_claims(cells, BASELINES),
            ],
        ),
        "## Text",
        *_folded("All verdicts", _claims(cells, TEXT)),
        "## Depth, shots, metric, full fine-tuning",
        *_folded("All verdicts", _claims(cells, CHOICES)),
        "## The ordering under other metrics",
        *_folded("All verdicts", _claims(cells, METRICS)),
        "## Why",
        *_folded("What explains the differences", [notes.strip()]),
        *(part for clip in CLIPS for part in _clip(cells, clip.name, clip.title)),
        *_origin(cells),
    ]
    return "\n\n".join(parts) + "\n"


def _folded(title: str, parts: Sequence[str]) -> list[str]:
    return [f"<details>\n<summary>{title}</summary>", *parts, "</details>"]


def _head() -> list[str]:
    return [
        "# What each part brings",
        "The clips are drawn and the CLIP is a small one, pre-trained on drawn frames. So this page says how the parts "
        "of the method behave, and nothing about real video.",
    ]


def _method(cells: Cells) -> list[str]:
    wanted = len(SHOWN) * len(CLIPS) * len(FAMILIES) * len(SPLITS)
    return [
        "This page is written by `python -m benchmarks.ablation.page` from the JSON in "
        "`benchmarks/results/ablation/`, which `make ablation` computes; a test checks that they agree. "
        f"{len(cells)} of {wanted} cells are measured.",
        "**Words.** [method.md](method.md) describes the method and its letters. The *head* is the prototype module, "
        "TPCM or CLIP-FSAR's. *From nothing* means that all parts are trained together from the start, without a head "
        "that was trained before. *Asked* means tested. *With* and *without positions* name the two CLIPs: the "
        "captions of the first say where things are, those of the second never do. *Motion* classes are a motion of "
        "any shape, *object-motion* classes a motion of one object.",
        f"**How.** Each row is trained and tested on {len(SPLITS)} splits of the classes; the split's number is also "
        f"the seed. Training uses {CLIPS_A_CLASS['train']} clips a class. The test is {EPISODES:,} {WAY}-way episodes "
        f"of test classes, 1-shot and 5-shot, the same for every row; chance is {100 / WAY:g} %. The text weight a and "
        f"the state that is kept are chosen on validation classes. Heads are trained alone for {PROTOTYPE_EPISODES:,} "
        "episodes. A model that starts with a trained head, or from nothing, is trained as a whole for "
        f"{JOINT_EPISODES:,}. An update is one episode, each stage has {VALIDATIONS} validations, and its learning "
        f"rate follows a {TRAIN.optimizer.schedule}. Rows that start with TPCM start with the same trained TPCM.",
        *_settings(),
        "**How sure.** ± is half of the 95 % interval over episodes of the mean of the splits' means; differences are "
        "paired episode by episode. It says how well these splits are measured, not how other splits would come out; "
        "the lowest and highest split are in brackets. A claim **holds** if the interval of every split by itself lies "
        "above zero, and **does not** if every one lies below. If only the mean is separated from zero, the splits "
        "that disagree are named. With fewer splits a difference is shown without a verdict.",
    ]


def _settings() -> list[str]:
    """How the rows' settings differ from each other and from the papers'."""
    whole, crops_of_one = find_row("full-tuning"), find_row("both-crops")
    crops = ", ".join(f"`{row.name}`" for row in SHOWN if row.random_crops)
    assert whole.train is not None
    return [
        "**What differs between rows.** *Episodes*: a head alone is trained for "
        f"{PROTOTYPE_EPISODES:,}, a model that starts with a trained head for {JOINT_EPISODES:,} more, adapters and "
        f"encoders that start from nothing for {JOINT_EPISODES:,}. *Views*: {crops} see random crops of their training "
        f"clips, mirrored where the class allows it (heads alone: {RANDOM_VIEWS.caching.views} views of each clip; "
        f"`{crops_of_one.name}`: the {ON_HEAD_CROPS.caching.stem_views} views in its cached stem). All other rows "
        "train on cached stems of centre crops. *Peak learning rates*: "
        f"{TRAIN.optimizer.prototype_learning_rate:g} for a head alone, "
        f"{FROM_NOTHING.optimizer.learning_rate:g} from nothing, {TRAIN.optimizer.learning_rate:g} on a trained head, "
        f"{whole.train.optimizer.learning_rate:g} for the whole encoder. All rows share a weight decay of "
        f"{TRAIN.optimizer.weight_decay:g}, a text weight of {FULL.model.text.fusion_weight:g} in training, and, "
        f"unless they are trained without text, support clips without their name in {100 * TRAIN.text_dropout:g} % of "
        "cases (the paper: none).",
    ]


def _claims(cells: Cells, claims: Sequence[Claim]) -> list[str]:
    """A table of verdicts, a line for each claim and CLIP, and the number of each verdict."""
    head = ["", "captions", *(f"{family}, {shot}-shot" for family, shot in COLUMNS)]
    lines, verdicts, lacking = [], [], []
    for clip in CLIPS:
        captions = clip.title.removeprefix("captions ")
        for claim in claims:
            found = [judge(cells, clip.name, family, shot, claim) for family, shot in COLUMNS]
            verdicts += found
            if any(verdict.difference for verdict in found):
                lines.append([claim.title, captions, *(verdict.text for verdict in found)])
            else:
                lacking.append(f"{claim.title} ({captions})")
    parts = [_table(head, lines)] if lines else []
    parts.append(f"Of {len(verdicts)} verdicts: {tally(verdicts)}.")
    return [*parts, f"Not measured on any split yet: {'; '.join(lacking)}."] if lacking else parts


def _chain(cells: Cells) -> str:
    """Where the paper's chain of three claims holds as a whole, at each depth."""
    said = []
    for clip in CLIPS:
        for family, shot in COLUMNS:
            for depth, chain in CHAINS.items():
                states = {judge(cells, clip.name, family, shot, claim).state for claim in chain}
                if not states & {PARTIAL, MISSING}:
                    captions = clip.title.removeprefix("captions ")
                    said.append((states == {HOLDS}, f"{family} {shot}-shot {captions}, {depth}"))
    if not said:
        return "Nowhere is the chain of three measured as a whole yet."
    where = "; ".join(name for holds, name in said if holds)
    count = sum(holds for holds, _ in said)
    whole = "The chain nothing < TPCM only < adapters only < both holds as a whole"
    return f"{whole} in {count} of {len(said)} that are measured" + (f": {where}." if where else ".")


def _clip(cells: Cells, clip: str, title: str) -> list[str]:
    heading = f"## All rows: `{clip}`, {title}"
    own = {key: cell for key, cell in cells.items() if key[0] == clip}
    if not own:
        return [heading, "Not measured yet."]
    parts = []
    parts.append(f"![Accuracy of each row]({figure_path(clip, 'bars').name})")
    parts.append("A dot is a split; a pale bar lacks a split; the dotted line is chance.")
    if any(cell.curve for cell in own.values()):
        parts.append(f"![Validation while training]({figure_path(clip, 'curves').name})")
        parts.append("A dot is the state that was kept; left of the dotted line TPCM is trained alone.")
    for family in FAMILIES:
        names = {key[3] for key in own if key[1] == family}
        rows = [row for row in SHOWN if row.name in names]
        parts += [f"### {family}", _accuracies(cells, clip, family, rows)]
        parts.append(
            f"By split, in order. † The best validation was among the last {PATIENCE} of the {VALIDATIONS} of the last "
            "stage, so longer training may bring more. Episodes and minutes include those of the head the row starts "
            "with. *Training*: share of right answers in the last tenth of the training episodes."
        )
        parts += [_splits(cells, clip, family, rows)]
        lacking = [f"`{row.name}`" for row in SHOWN if row.name not in names]
        if lacking:
            parts.append(f"Not measured yet: {', '.join(lacking)}.")
    return [heading, *_folded("Charts and tables", parts)]


def _accuracies(cells: Cells, clip: str, family: str, rows: Sequence[Row]) -> str:
    head = [
        "",
        "accuracy, %",
        *(f"{shot}-shot" for shot in SHOTS),
        *(f"`{FULL.name}` less this, {shot}-shot" for shot in SHOTS),
    ]
    lines = []
    for row in rows:
        shares = [_share(accuracy(cells, clip, family, row.name, shot)) for shot in SHOTS]
        gains = [
            NONE if row is FULL else _gain(difference(cells, clip, family, shot, row.name, FULL.name)) for shot in SHOTS
        ]
        lines.append([f"`{row.name}`", f"**{row.title}**" if row is FULL else row.title, *shares, *gains])
    return _table(head, lines)


def _share(found: Pooled | None) -> str:
    if found is None:
        return NONE
    return f"{100 * found.mean:.1f} ± {100 * found.interval:.1f}{_spread(found, '.1f')}"


def _gain(found: Pooled | None) -> str:
    if found is None:
        return NONE
    return points(found) + _spread(found, "+.1f").replace("-", "−")


def _spread(found: Pooled, form: str) -> str:
    """The lowest and highest split, and the number of splits if some are missing."""
    low, high = found.range
    between = f" ({100 * low:{form}} to {100 * high:{form}})" if len(found.by_split) > 1 else ""
    return between + ("" if found.complete else f", {len(found.by_split)} of {len(SPLITS)} splits")


def _splits(cells: Cells, clip: str, family: str, rows: Sequence[Row]) -> str:
    head = ["", *(f"{shot}-shot, %" for shot in SHOTS), "training, %", "a", "kept at", "of episodes", "minutes"]
    lines = []
    for row in rows:
        of_row = [cells.get((clip, family, split, row.name)) for split in SPLITS]

        def each(say: Callable[[Cell], str], of_row: Sequence[Cell | None] = of_row) -> str:
            said = [NONE if cell is None else say(cell) for cell in of_row]
            return NONE if set(said) == {NONE} else " / ".join(said)

        shares = [each(lambda cell, shot=shot: f"{100 * cell.answers[shot].right.mean():.1f}") for shot in SHOTS]  # type: ignore[misc]
        asked = each(lambda cell, row=row: _weight(cell, row))  # type: ignore[misc]
        fitted = each(lambda cell: NONE if cell.training is None else f"{100 * cell.training:.0f}")
        lines.append([f"`{row.name}`", *shares, fitted, asked, *_training(row, each)])
    return _table(head, lines)


def _weight(cell: Cell, row: Row) -> str:
    """The text weight; without names there is nothing to weigh."""
    weight = cell.answers[SHOTS[0]].fusion_weight
    return NONE if row.support.names == "none" or weight is None else f"{weight:g}"


def _training(row: Row, each: Callable[[Callable[[Cell], str]], str]) -> list[str]:
    if row.train is None:
        return [f"as `{row.uses}`" if row.uses else "not trained", "", ""]
    kept = each(lambda cell: f"{cell.place(cell.best):,}{'†' if cell.rises else ''}" if cell.best else NONE)
    return [kept, each(lambda cell: f"{cell.episodes:,}"), each(lambda cell: f"{cell.minutes:.0f}")]


def _origin(cells: Cells) -> list[str]:
    """Which commit computed the cells, and on which device."""
    if not cells:
        return []
    counts = Counter((cell.commit, cell.device) for cell in cells.values())
    lines = [[f"`{commit}`", device, str(count)] for (commit, device), count in sorted(counts.items())]
    return [
        "## Where the cells come from",
        "Minutes were measured beside other work on the machine: compare them only within a split of a row.",
        _table(["commit", "device", "cells"], lines),
    ]


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def figure_path(clip: str, kind: str, page: Path = PAGE) -> Path:
    """The path of a chart of `clip`; `kind`: "bars" or "curves"."""
    return page.with_name(f"{page.stem}_{clip}_{kind}.png")


def main() -> None:
    """Write the page and its charts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the cells (default: the project's)")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page (default docs/ablation.md)")
    asked = parser.parse_args()
    cells, digest = read_cells(asked.results), cells_sha256(asked.results)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(write_page(cells, NOTES.read_text(encoding="utf-8")), encoding="utf-8")
    draw_summary(cells, asked.out.with_name(SUMMARY), digest)
    for clip in {key[0] for key in cells}:
        draw_bars(cells, clip, figure_path(clip, "bars", asked.out), digest)
        if any(key[0] == clip and cell.curve for key, cell in cells.items()):
            draw_curves(cells, clip, figure_path(clip, "curves", asked.out), digest)


if __name__ == "__main__":
    main()
