"""Draws docs/ablation.md and its figures from the cells: no figure on the page is typed.

    python -m benchmarks.ablation.page

What explains the figures is prose without figures, in notes.md beside this file.
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
from maclip_runtime.errors import MaclipError

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "ablation.md"
NOTES = Path(__file__).with_name("notes.md")
TYPED_FIGURE = re.compile(r"\d+[.,]\d|\d\s*(%|±|points|percent|times)")
COLUMNS = [(family, shot) for family in FAMILIES for shot in SHOTS]
NONE = "—"


def write_page(cells: Cells, notes: str) -> str:
    """The whole page as Markdown. Raises `notes-invalid` where `notes` holds a measured figure."""
    typed = TYPED_FIGURE.search(notes)
    if typed:
        raise MaclipError(
            "notes-invalid",
            f"The notes hold a figure, {typed.group()!r}.",
            "Say it without: figures stand in the tables, which are computed.",
        )
    parts = [
        *_head(cells),
        "## The paper's ordering",
        "Does each part bring what the paper says: nothing < TPCM only < adapters only < both, and does the text token "
        "help? A cell names the difference in points.",
        *_claims(cells, ORDERING),
        _chain(cells),
        "## Against what people would pick instead",
        "The full model, one block adapted (`both`), all (`k-all`, the paper) and all from nothing (`k-all-anew`), "
        "against each baseline, on the same episodes. CLIP-FSAR stands here by what makes it, the text as one more row "
        "of a temporal transformer, under the method's own losses, fusion, metric and choice of states. Zero-shot is "
        "shown no clip: 1-shot and 5-shot differ by their queries.",
        *_claims(cells, BASELINES),
        "## Text",
        *_claims(cells, TEXT),
        "## Depth, shots, metric, full fine-tuning",
        *_claims(cells, CHOICES),
        "## The ordering under other metrics",
        *_claims(cells, METRICS),
        "## Why",
        notes.strip(),
        *(part for clip in CLIPS for part in _clip(cells, clip.name, clip.title)),
        *_origin(cells),
    ]
    return "\n\n".join(parts) + "\n"


def _head(cells: Cells) -> list[str]:
    wanted = len(SHOWN) * len(CLIPS) * len(FAMILIES) * len(SPLITS)
    return [
        "# What each part brings",
        "Drawn by `python -m benchmarks.ablation.page` from the JSON in `benchmarks/results/ablation/`, which "
        "`make ablation` computes; a test holds page and JSON together. Generated clips and a CLIP of a drawn world: "
        f"this says how the parts behave, nothing about real video. {len(cells)} of {wanted} cells are measured.",
        f"**How.** Each row is trained and asked on {len(SPLITS)} splits of the classes, the split's number being the "
        f"seed too: trained on {CLIPS_A_CLASS['train']} clips a class, asked {EPISODES:,} {WAY}-way episodes of test "
        f"classes, 1-shot and 5-shot, the same for every row. Chance is {100 / WAY:g} %. The text weight a is chosen "
        f"on validation classes, and so is the state that is kept. TPCM trains alone for {PROTOTYPE_EPISODES:,} "
        f"episodes, then all that is tuned, or what begins from nothing, for {JOINT_EPISODES:,}: an episode an update, "
        f"{VALIDATIONS} validations each, the learning rate following a {TRAIN.optimizer.schedule}. Rows that begin "
        "with TPCM begin with the same one.",
        *_settings(),
        "**How sure.** ± is half of the 95 % interval over episodes, of the mean of the splits' means; differences are "
        "paired episode by episode. It says how well these splits are measured, not how others would come out: the "
        "lowest and highest split stand in brackets. A claim **holds** where each split's own interval leaves out "
        "zero, and **does not** where that is so the other way round; where the mean alone is separated, the splits "
        "that are not are named. On fewer splits a difference is shown without a verdict.",
    ]


def _settings() -> list[str]:
    """What rows do not share, or share with no paper: read it before comparing them."""
    whole, crops_of_one = find_row("full-tuning"), find_row("both-crops")
    crops = ", ".join(f"`{row.name}`" for row in SHOWN if row.random_crops)
    assert whole.train is not None
    return [
        f"**What rows do not share.** *Episodes*: heads alone get {PROTOTYPE_EPISODES:,}, what begins with a head "
        f"{JOINT_EPISODES:,} more, adapters and encoders that begin from nothing {JOINT_EPISODES:,}. *Views*: "
        f"{crops} see random crops of their training clips, mirrored where the class lets it (heads alone: "
        f"{RANDOM_VIEWS.caching.views} views of each clip; `{crops_of_one.name}`: the "
        f"{ON_HEAD_CROPS.caching.stem_views} that its cached stem holds); the stems of all others are cached, which "
        "are of centre crops. "
        f"*Learning rates* at their highest: {TRAIN.optimizer.prototype_learning_rate:g} for a head alone, "
        f"{FROM_NOTHING.optimizer.learning_rate:g} for what begins from nothing, {TRAIN.optimizer.learning_rate:g} on "
        f"a head, {whole.train.optimizer.learning_rate:g} for the whole encoder. All share a weight decay of "
        f"{TRAIN.optimizer.weight_decay:g}, a text weight of {FULL.model.text.fusion_weight:g} while training, and "
        f"support clips that go without their name in {100 * TRAIN.text_dropout:g} % of cases (the paper: none), but "
        "for those trained without text.",
    ]


def _claims(cells: Cells, claims: Sequence[Claim]) -> list[str]:
    """A table of verdicts, a line for each claim and CLIP, and how many of each."""
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
    """Where the paper's whole chain of three claims holds at once, at each depth."""
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
    parts = [f"## All rows: `{clip}`, {title}"]
    own = {key: cell for key, cell in cells.items() if key[0] == clip}
    if not own:
        return [*parts, "Not measured yet."]
    parts.append(f"![Accuracy of each row]({figure_path(clip, 'bars').name})")
    parts.append("A dot is a split, a pale bar lacks one; the dotted line is chance.")
    if any(cell.curve for cell in own.values()):
        parts.append(f"![Validation while training]({figure_path(clip, 'curves').name})")
        parts.append("A dot is the state that was kept; left of the dotted line TPCM trains alone.")
    for family in FAMILIES:
        names = {key[3] for key in own if key[1] == family}
        rows = [row for row in SHOWN if row.name in names]
        parts += [f"### {family}", _accuracies(cells, clip, family, rows)]
        parts.append(
            f"By split, in order. † The best validation of its last part came among the last {PATIENCE} of "
            f"{VALIDATIONS}: longer training may bring more. Episodes and minutes count the head it began with. "
            "*Training*: right answers in the last tenth of its training episodes."
        )
        parts += [_splits(cells, clip, family, rows)]
        lacking = [f"`{row.name}`" for row in SHOWN if row.name not in names]
        if lacking:
            parts.append(f"Not measured yet: {', '.join(lacking)}.")
    return parts


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
    """The lowest and highest split, and how many splits where some are missing."""
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
    """Which code computed the cells, and on what."""
    if not cells:
        return []
    counts = Counter((cell.commit, cell.device) for cell in cells.values())
    lines = [[f"`{commit}`", device, str(count)] for (commit, device), count in sorted(counts.items())]
    return [
        "## Where the cells come from",
        "Minutes are of the machine as it was, other work beside it: compare them within a row's split at most.",
        _table(["commit", "device", "cells"], lines),
    ]


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def figure_path(clip: str, kind: str, page: Path = PAGE) -> Path:
    """Where a figure of `clip` goes; `kind`: bars or curves."""
    return page.with_name(f"{page.stem}_{clip}_{kind}.png")


def main() -> None:
    """Draw page and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the cells (default: the project's)")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page (default docs/ablation.md)")
    asked = parser.parse_args()
    cells, digest = read_cells(asked.results), cells_sha256(asked.results)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(write_page(cells, NOTES.read_text(encoding="utf-8")), encoding="utf-8")
    for clip in {key[0] for key in cells}:
        draw_bars(cells, clip, figure_path(clip, "bars", asked.out), digest)
        if any(key[0] == clip and cell.curve for key, cell in cells.items()):
            draw_curves(cells, clip, figure_path(clip, "curves", asked.out), digest)


if __name__ == "__main__":
    main()
