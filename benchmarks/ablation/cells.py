"""The cells of the ablation: one row on one CLIP, family and split, read from the JSON that the runner writes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.ablation.rows import PATIENCE, ROWS, Row, find_row
from maclip_runtime.errors import MaclipError

RESULTS = Path(__file__).resolve().parent.parent / "results" / "ablation"
FAMILIES = ("motion", "object-motion")
SPLITS = (1, 2, 3)
CLIPS_A_CLASS = {"train": 64, "val": 12, "test": 12}  # with 16 for training, clips were learned by heart
SHOTS = (1, 5)
WAY = 5  # of the test episodes; one query a class
EPISODES = 2000
NO_POSITIONS = Path(__file__).parent / "no_positions" / "open_clip_model.safetensors"


@dataclass(frozen=True)
class Clip:
    """A tiny CLIP: its `name` in the results, and `pretrained` as the command line takes it."""

    name: str
    pretrained: str
    title: str = ""


CLIPS = (
    Clip("tiny", "tiny", "captions with positions"),
    Clip("nopos", str(NO_POSITIONS), "captions without positions"),
)


@dataclass(frozen=True)
class Setting:
    """One CLIP, family and split; the split's number is also the seed."""

    clip: Clip
    family: str
    split: int

    @property
    def name(self) -> str:
        """A folder name."""
        return f"{self.clip.name}-{self.family}-{self.split}"


@dataclass(frozen=True)
class Answers:
    """Results for one shot: `right` [episodes] is the share of right answers in each episode, 0..1."""

    right: npt.NDArray[np.float64]
    episodes_sha256: str
    fusion_weight: float | None


@dataclass(frozen=True)
class Point:
    """A validation in training: accuracy 0..1 after `episode` episodes of its stage, prototype or joint."""

    stage: str
    episode: int
    accuracy: float


@dataclass(frozen=True)
class Cell:
    """The results of a row. `minutes`: of its training. `training`: share of right answers at the end of it.

    If nothing was trained for this row itself, `curve` is empty and `training` is None.
    """

    row: str
    clip: str
    family: str
    split: int
    commit: str
    device: str
    minutes: float
    curve: tuple[Point, ...]
    training: float | None
    answers: dict[int, Answers]

    @property
    def prototype_episodes(self) -> int:
        """Episodes of the first stage."""
        return max((point.episode for point in self.curve if point.stage == "prototype"), default=0)

    @property
    def episodes(self) -> int:
        """Episodes of both stages."""
        return self.prototype_episodes + max((p.episode for p in self.curve if p.stage == "joint"), default=0)

    def place(self, point: Point) -> int:
        """Episodes from the start of training to `point`."""
        return point.episode + (self.prototype_episodes if point.stage == "joint" else 0)

    @property
    def best(self) -> Point | None:
        """The validation whose state was kept: the last of the highest, without those of the head it starts with."""
        begins = find_row(self.row).begins is not None
        own = [point for point in self.curve if point.stage == "joint" or not begins]
        return max(own, key=lambda point: (point.accuracy, self.place(point)), default=None)

    @property
    def rises(self) -> bool:
        """Whether accuracy may still rise: fewer than PATIENCE validations follow the best of the last stage."""
        last = [point.accuracy for point in self.curve if point.stage == self.curve[-1].stage]
        return bool(last) and len(last) - 1 - last.index(max(last)) < PATIENCE


Cells = dict[tuple[str, str, int, str], Cell]  # by CLIP, family, split and row


def cell_path(results: Path, setting: Setting, row: Row) -> Path:
    """The path of a row's results."""
    return results / setting.name / f"{row.name}.json"


def read_cells(results: Path = RESULTS) -> Cells:
    """All cells. Raises `cell-invalid`, and `episodes-differ` if rows of a setting had different test episodes."""
    cells: Cells = {}
    asked: dict[tuple[str, str, int, int], str] = {}
    for path in sorted(results.glob("*/*.json")):
        cell = read_cell(path)
        cells[cell.clip, cell.family, cell.split, cell.row] = cell
        for shot, answers in cell.answers.items():
            key = (cell.clip, cell.family, cell.split, shot)
            if asked.setdefault(key, answers.episodes_sha256) != answers.episodes_sha256:
                raise MaclipError(
                    "episodes-differ",
                    f"{path} was not tested on the same {shot}-shot episodes as the cells beside it.",
                    "Remove it and run benchmarks.ablation.run again.",
                )
    return cells


def read_cell(path: Path) -> Cell:
    """Read one cell and check that it agrees with its path. Raises `cell-invalid`."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        cell = Cell(
            row=facts["row"],
            clip=facts["clip"],
            family=facts["family"],
            split=facts["split"],
            commit=facts["commit"],
            device=facts["device"],
            minutes=float(facts["minutes"]),
            curve=tuple(Point(**point) for point in facts["curve"]),
            training=facts["training"],
            answers={shot: _answers(facts[f"{shot}-shot"], facts) for shot in SHOTS},
        )
        told = f"{cell.clip}-{cell.family}-{cell.split}/{cell.row}"
        if told != f"{path.parent.name}/{path.stem}":
            raise ValueError(f"it says that it is {told}")
        if cell.row not in {row.name for row in ROWS}:
            raise ValueError(f"there is no row {cell.row}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MaclipError(
            "cell-invalid", f"{path} is not a cell of the ablation: {error!r}.", "Remove it and run it again."
        ) from error
    return cell


def _answers(asked: dict[str, Any], facts: dict[str, Any]) -> Answers:
    right = np.array([int(digit) for digit in asked["by_episode"]], dtype=np.float64) / WAY
    if len(right) < 2 or abs(right.mean() - asked["accuracy"]) > 1e-6:
        raise ValueError("its answers do not give its accuracy")
    return Answers(right, asked["episodes_sha256"], asked.get("fusion_weight", facts["fusion_weight"]))


def cells_sha256(results: Path = RESULTS) -> str:
    """A digest of all cells; charts carry it to tell which cells they show."""
    digest = hashlib.sha256()
    for path in sorted(results.glob("*/*.json")):
        digest.update(f"{path.parent.name}/{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()
