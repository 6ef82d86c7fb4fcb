"""The ablation's page says what its cells say, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.ablation import page, pictures
from benchmarks.ablation.cells import FAMILIES, RESULTS, SPLITS, Cells, cells_sha256, read_cells
from benchmarks.ablation.claims import (
    BASELINES,
    CHOICES,
    METRICS,
    ORDERING,
    TEXT,
    Claim,
    accuracy,
    judge,
    points,
    tally,
)
from benchmarks.ablation.rows import FULL, PATIENCE, ROWS, SHOWN, find_row
from maclip_runtime.errors import MaclipError

CLAIM = Claim("the text token helps", "no-token", "both")
EASY, HARD = "34" * 50, "12" * 50  # right answers of 5 in 100 episodes: 0.7 and 0.3


def write_cell(results: Path, row: str, split: int, answers: str = EASY, **changes: object) -> Path:
    """A cell of `tiny` on motion whose 1-shot and 5-shot episodes went as `answers` say."""
    asked = {
        "accuracy": sum(map(int, answers)) / len(answers) / 5,
        "episodes_sha256": f"of split {split}",
        "by_episode": answers,
    }
    facts = {
        "row": row, "clip": "tiny", "family": "motion", "split": split, "commit": "abc1234", "device": "cpu",
        "minutes": 3.2, "training": None, "curve": [], "fusion_weight": 0.1, "1-shot": asked, "5-shot": asked,
        **changes,
    }  # fmt: skip
    path = results / f"tiny-motion-{split}" / f"{row}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts))
    return path


def measured(results: Path, worse: dict[int, str], better: dict[int, str]) -> Cells:
    for row, splits in ((CLAIM.worse, worse), (CLAIM.better, better)):
        for split, answers in splits.items():
            write_cell(results, row, split, answers)
    return read_cells(results)


def every(answers: str) -> dict[int, str]:
    return dict.fromkeys(SPLITS, answers)


def test_the_committed_page_is_drawn_from_the_committed_cells():
    drawn = page.write_page(read_cells(), page.NOTES.read_text(encoding="utf-8"))
    assert page.PAGE.read_text(encoding="utf-8") == drawn, "draw it again: python -m benchmarks.ablation.page"
    for name in re.findall(r"\]\((ablation_\w+\.png)\)", drawn):
        with Image.open(page.PAGE.with_name(name)) as figure:
            assert figure.text[pictures.CELLS_KEY] == cells_sha256(), f"{name} shows other cells: draw it again"


def test_every_row_is_shown_once_and_every_claim_is_about_rows():
    assert sorted(row.name for row in SHOWN) == sorted(row.name for row in ROWS)
    for claim in (*ORDERING, *TEXT, *CHOICES, *METRICS, *BASELINES):
        assert find_row(claim.worse) is not find_row(claim.better)


@pytest.mark.parametrize(
    ("worse", "better", "said"),
    [
        (every(HARD), every(EASY), "**holds**: +40.0 ± 0.0"),
        (every(EASY), every(HARD), "**does not**: −40.0 ± 0.0"),
        (every(EASY), every(EASY), "not separated: +0.0 ± 0.0"),
        # Where one is better the other is worse: the same mean, and an interval.
        (every("34" * 50), every("43" * 50), "not separated: +0.0 ± 2.3"),
        (every(HARD), {**every(EASY), 3: "11" * 50}, "not in every split: +23.3 ± 0.7, but −10.0 in split 3"),
        # Ahead in each split, but in one no further than its own interval.
        (every(EASY), {**every("44" * 50), 2: "34" * 49 + "45"}, "not in every split: +6.8 ± 0.9, but +0.4 in split 2"),
        (every(HARD), {1: EASY, 2: EASY}, "2 of 3 splits: +40.0 ± 0.0"),
        ({1: HARD, 2: HARD}, {3: EASY}, "—"),
    ],
)
def test_a_verdict_says_what_the_answers_say(tmp_path, worse, better, said):
    assert judge(measured(tmp_path, worse, better), "tiny", "motion", 1, CLAIM).text == said


def test_the_interval_is_paired_within_splits(tmp_path):
    # Differences of 0 and 1/5, half and half, in each of three splits of 100 episodes.
    cells = measured(tmp_path, every("05" * 50), {1: "15" * 50, 2: "15" * 50, 3: "25" * 50})
    found = judge(cells, "tiny", "motion", 5, CLAIM).difference
    assert found is not None
    assert found.mean == pytest.approx((0.1 + 0.1 + 0.2) / 3)
    variances = [0.1**2, 0.1**2, 0.2**2]  # of the episodes, to be corrected for their mean
    assert found.interval == pytest.approx(1.96 * (sum(v / 99 for v in variances)) ** 0.5 / 3)
    assert found.range == (pytest.approx(0.1), pytest.approx(0.2))


def test_a_tally_counts_each_state_in_words(tmp_path):
    cells = measured(tmp_path, every(HARD), every(EASY))
    holds, missing = (judge(cells, "tiny", family, 1, CLAIM) for family in FAMILIES)
    against = judge(cells, "tiny", "motion", 1, Claim("the other way", "both", "no-token"))
    assert tally([holds, against, missing, holds]) == "2 hold, 1 does not, 1 not measured"


def test_missing_cells_are_shown_as_missing(tmp_path):
    write_cell(tmp_path, "tpcm", 2)
    write_cell(tmp_path, "both", 2, HARD)
    drawn = page.write_page(read_cells(tmp_path), "Because.")
    assert f"2 of {len(ROWS) * 2 * 2 * 3} cells are measured" in drawn
    assert "| `tpcm` | TPCM only | 70.0 ± 2.0, 1 of 3 splits | 70.0 ± 2.0, 1 of 3 splits | −40.0 ± 0.0, 1 of" in drawn
    assert "| `tpcm` | — / 70.0 / — | — / 70.0 / — | — | — / 0.1 / — |" in drawn
    assert "Not measured yet: `frozen-mean`" in drawn
    assert "## All rows: `nopos`, captions without positions\n\nNot measured yet." in drawn
    assert "**holds**:" not in drawn
    assert "| `abc1234` | cpu | 2 |" in drawn


def test_the_whole_chain_is_asked_for_at_once_at_each_depth(tmp_path):
    def said() -> str:
        return page.write_page(read_cells(tmp_path), "")

    for split in SPLITS:
        for row, answers in zip(("frozen-otam", "tpcm", "adapters", "both"), ("1", "2", "3", "4"), strict=True):
            write_cell(tmp_path, row, split, answers * 100)
    holds = "motion 1-shot with positions, K = 1; motion 5-shot with positions, K = 1."
    for split in SPLITS:
        assert f"in 2 of 2 that are measured: {holds}" in said(), "a chain counts once all its splits are there"
        write_cell(tmp_path, "adapters-all", split, "5" * 100)
        write_cell(tmp_path, "k-all", split, "4" * 100)  # less than its adapters alone
    assert f"in 2 of 4 that are measured: {holds}" in said()
    write_cell(tmp_path, "adapters", 2, "5" * 100)  # in one split adapters alone are better than both
    assert "as a whole in 0 of 4 that are measured." in said()


def curve(*joint: float) -> list[dict[str, object]]:
    first = [{"stage": "prototype", "episode": episode, "accuracy": 0.5} for episode in (5000, 10_000)]
    return first + [{"stage": "joint", "episode": 500 * (at + 1), "accuracy": a} for at, a in enumerate(joint)]


def test_what_was_kept_and_what_may_rise_on_is_told(tmp_path):
    write_cell(tmp_path, "both", 1, curve=curve(0.6, 0.7, *[0.65] * PATIENCE))
    write_cell(tmp_path, "both", 2, training=0.987, curve=curve(*[0.6] * 20, 0.9, 0.8, 0.8, 0.8))
    fallen = curve(0.3, *[0.4] * (PATIENCE + 1))
    write_cell(tmp_path, "both", 3, curve=fallen)  # TPCM alone had more, but that was another row's training
    write_cell(tmp_path, "adapters", 3, curve=fallen)  # one training: what TPCM reached alone was kept
    drawn = page.write_page(read_cells(tmp_path), "")
    assert (
        "| — / 99 / — | 0.1 / 0.1 / 0.1 | 11,000 / 20,500† / 15,000 | 15,000 / 22,000 / 15,000 | 3 / 3 / 3 |" in drawn
    )
    assert "| — / — / 10,000 | — / — / 15,000 | — / — / 3 |" in drawn


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"row": "no-such-row"}, "cell-invalid"),
        ({"split": 2}, "cell-invalid"),  # it lies in the folder of split 1
        ({"curve": None}, "cell-invalid"),
        ({"1-shot": {"accuracy": 0.9, "episodes_sha256": "of split 1", "by_episode": EASY}}, "cell-invalid"),
        ({"1-shot": {"accuracy": 0.7, "episodes_sha256": "another", "by_episode": EASY}}, "episodes-differ"),
    ],
)
def test_cells_that_do_not_fit_are_refused(tmp_path, changes, code):
    write_cell(tmp_path, "tpcm", 1)
    path = write_cell(tmp_path, "both", 1)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(MaclipError) as refused:
        read_cells(tmp_path)
    assert refused.value.code == code


@pytest.mark.parametrize("typed", ["both gains 3 points", "a third: 33.3", "40 %", "twice: 2 times"])
def test_notes_hold_no_figure(typed):
    with pytest.raises(MaclipError) as refused:
        page.write_page({}, f"Adapters bring more: {typed}.")
    assert refused.value.code == "notes-invalid"
    assert "1-shot with K = 2" in page.write_page({}, "As seen, 1-shot with K = 2.")


def test_figures_show_their_rows_and_name_their_cells(tmp_path):
    for split in SPLITS:
        write_cell(tmp_path, "both", split, curve=curve(0.6, 0.7))
        write_cell(tmp_path, "tpcm", split, HARD, curve=curve()[:2])
    cells = read_cells(tmp_path)
    pictures.draw_bars(cells, "tiny", tmp_path / "bars.png", "digest")
    pictures.draw_curves(cells, "tiny", tmp_path / "curves.png", "digest")
    for name, colours in (("bars", pictures.COLOURS), ("curves", pictures.CURVES)):
        with Image.open(tmp_path / f"{name}.png") as figure:
            assert figure.text[pictures.CELLS_KEY] == "digest"
            assert figure.width == 880
            seen = {colour for _, colour in figure.convert("RGB").getcolors(1 << 24)}
        drawn = {tuple(bytes.fromhex(colour[1:])) for colour in colours.values()}
        assert drawn & seen, f"{name}.png shows nothing"


def test_accuracy_of_a_row_is_the_mean_of_its_splits(tmp_path):
    cells = measured(tmp_path, {}, {1: EASY, 2: HARD})
    found = accuracy(cells, "tiny", "motion", FULL.name, 5)
    assert found is not None
    assert found.mean == pytest.approx(0.5)
    assert not found.complete
    assert points(found).startswith("+50.0")
    assert RESULTS.parent.name == "results"
