"""An evaluation as a record: what was asked, of which episodes, and every answer; two records compare in pairs."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maclip.data.dataset import ActionClass, Dataset, data_sha256
from maclip.data.episodes import EpisodeSampler
from maclip.evaluation.evaluator import Result, half_width
from maclip.writing import replacing
from maclip_runtime.bundle.schema import from_dict, read_json
from maclip_runtime.errors import MaclipError

RECORD_FORMAT = 2


@dataclass(frozen=True)
class Record:
    """A `Result` with what makes it repeatable.

    model: which model it was, in words.
    adapters_sha256: digest of its tuned tensors, None where nothing is tuned.
    data, split: where the classes are from.
    episodes_sha256: digest of the episodes, classes and clips by name: the same for every method that was asked the
        same, wherever the data lies.
    by_class: accuracy of each class, 0..1.
    seen_in_training: the classes that the model was trained on, so that they are not new to it.
    clips_sha256: digest of the clips with their sizes; the same names may be of other clips.
    left_out: a line for each clip that could not be read.
    """

    format: int
    tool_version: str
    model: str
    adapters_sha256: str | None
    data: str
    split: str
    episodes_sha256: str
    by_class: dict[str, float]
    result: Result
    seen_in_training: tuple[str, ...]
    clips_sha256: str
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """B against A on the same episodes: accuracies 0..1, `difference` B - A and its 95 % half-width.

    The interval is over episodes, paired, so that what makes an episode hard for both drops out.
    """

    a: str
    b: str
    episodes: int
    accuracy_a: float
    accuracy_b: float
    difference: float
    interval: float

    @property
    def separated(self) -> bool:
        """Whether the interval leaves out zero."""
        return abs(self.difference) > self.interval


def episodes_sha256(classes: Sequence[ActionClass], result: Result) -> str:
    """The digest of the episodes of `result` on `classes`, as hex."""
    clips = [f"{c.name}\0{name}" for c in classes for name in _own_names(c)]
    sampler = EpisodeSampler([len(c.clips) for c in classes], result.way, result.shot, result.queries, result.seed)
    digest = hashlib.sha256(f"{result.way} {result.shot} {result.queries} {result.episodes}".encode())
    for number in range(result.episodes):
        episode = sampler[number]
        listed = [[clips[i] for i in ids.tolist()] for ids in (episode.support, episode.query)]
        digest.update(json.dumps(listed).encode())
    return digest.hexdigest()


def _own_names(c: ActionClass) -> list[str]:
    """What tells the clips of a class apart: their file names, where these are not enough with folders before them."""
    parts = [clip.parts for clip in c.clips]
    last = 1
    while len({part[-last:] for part in parts}) < len(parts) and last < max(map(len, parts)):
        last += 1
    return ["/".join(part[-last:]) for part in parts]


def clips_sha256(classes: Sequence[ActionClass]) -> str:
    """The digest of the clips of `classes` with their sizes, as hex: of any split, wherever they lie."""
    return data_sha256(Dataset(Path(), tuple(dataclasses.replace(c, split=None) for c in classes)))


def write_record(path: Path, record: Record) -> None:
    """Write a record as one flat JSON object, in one step. Raises `output-unwritable`."""
    facts = dataclasses.asdict(record)
    facts |= facts.pop("result")
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(facts, ensure_ascii=False) + "\n", encoding="utf-8")


def read_record(path: Path) -> Record:
    """Read a record. Raises `record-invalid`."""
    try:
        data = read_json(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.get("format") != RECORD_FORMAT:
            raise ValueError(f"its format is not {RECORD_FORMAT}")
        answers = {field.name: data.pop(field.name) for field in dataclasses.fields(Result) if field.name in data}
        record = from_dict(Record, {**data, "result": answers})
        _check(record.result)
        return record
    except (OSError, ValueError, MaclipError) as error:
        what = error.message if isinstance(error, MaclipError) else str(error)
        raise MaclipError(
            "record-invalid", f"{path} is not an evaluation's record: {what}.", "Make it with maclip eval --json FILE."
        ) from error


def _check(result: Result) -> None:
    """Raise ValueError where the answers are not what the rest says."""
    right, asked = result.by_episode, result.way * result.queries
    if len(right) != result.episodes:
        raise ValueError(f"it has {len(right)} answers to {result.episodes} episodes")
    if not right or asked < 1:
        raise ValueError("nothing was asked")
    if not 0 <= min(right) <= max(right) <= asked:
        raise ValueError(f"an episode of {asked} queries cannot have {max(right)} right answers and {min(right)}")
    if not abs(sum(right) / (len(right) * asked) - result.accuracy) <= 1e-6:  # nor where it is no number
        raise ValueError("its answers do not give its accuracy")


def compare(a: Record, b: Record, name_a: str = "A", name_b: str = "B") -> Comparison:
    """B against A. Raises `episodes-differ` where they were not asked the same."""
    asked = [(r.episodes_sha256, r.result.episodes, r.result.way, r.result.queries) for r in (a, b)]
    if asked[0] != asked[1]:
        raise MaclipError(
            "episodes-differ",
            f"{name_a} and {name_b} were not asked the same episodes, so their answers cannot be paired.",
            "Evaluate both with the same data, split, --way, --shot, --queries, --episodes and --seed.",
        )
    if a.clips_sha256 != b.clips_sha256:
        raise MaclipError(
            "episodes-differ",
            f"{name_a} and {name_b} were asked episodes of the same names, but the clips are not the same files.",
            "Evaluate both on the same clips: a copy will do, clips that were encoded or drawn anew will not.",
        )
    queries = a.result.way * a.result.queries
    difference = (np.array(b.result.by_episode) - np.array(a.result.by_episode)) / queries
    count = len(difference)
    return Comparison(
        name_a,
        name_b,
        count,
        a.result.accuracy,
        b.result.accuracy,
        float(difference.mean()),
        half_width(difference),
    )


def confusion_csv(result: Result) -> str:
    """The confusion matrix as CSV: a row for each true class, a column for each answer, counts of queries."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["shown", *result.names])
    rows.writerows([name, *row] for name, row in zip(result.names, result.confusion, strict=True))
    return out.getvalue()
