"""Records of evaluations: read, write, and compare two of them episode by episode."""

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
    """A `Result` with everything needed to repeat it.

    format, tool_version: of the file, and of maclip.
    model: the run folder, or the name of the backbone.
    adapters_sha256: digest of the tuned tensors; None if there are none.
    data, split: folder of the dataset, and the split.
    episodes_sha256: digest of the episodes by class and clip names, independent of the dataset's folder.
    by_class: accuracy of each class, 0..1.
    result: accuracy and answers.
    seen_in_training: classes that the model was trained on.
    clips_sha256: digest of the clips' names and sizes: other clips may have the same names.
    left_out: a line for each clip that could not be read.
    too_small: classes with too few readable clips for an episode: they were not asked for.
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
    too_small: tuple[str, ...] = ()

    @property
    def asked(self) -> tuple[str, ...]:
        """The classes that episodes were made of."""
        return tuple(name for name in self.result.names if name not in self.too_small)


@dataclass(frozen=True)
class Comparison:
    """A comparison of two records A and B on the same episodes.

    a, b: names of the records.
    episodes: number of paired episodes.
    accuracy_a, accuracy_b: 0..1.
    difference, interval: accuracy B - A, and the half-width of its paired 95 % interval over episodes.
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
        """Whether the interval excludes zero."""
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
    """Distinct names of the clips of a class: file names, with as many parent folders as needed."""
    parts = [clip.parts for clip in c.clips]
    last = 1
    while len({part[-last:] for part in parts}) < len(parts) and last < max(map(len, parts)):
        last += 1
    return ["/".join(part[-last:]) for part in parts]


def clips_sha256(classes: Sequence[ActionClass]) -> str:
    """The digest of the clips of `classes` with their sizes, as hex; independent of split and folder."""
    return data_sha256(Dataset(Path(), tuple(dataclasses.replace(c, split=None) for c in classes)))


def write_record(path: Path, record: Record) -> None:
    """Write a record as one flat JSON object, atomically. Raises `output-unwritable`."""
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
        raise invalid_record(path, error, "maclip eval --json FILE") from error


def invalid_record(path: Path, why: Exception, command: str) -> MaclipError:
    """The error for a file that is no record; `command` makes one."""
    what = why.message if isinstance(why, MaclipError) else str(why)
    return MaclipError("record-invalid", f"{path} is not an evaluation record: {what}.", f"Create one with {command}.")


def _check(result: Result) -> None:
    """Raise ValueError if the answers contradict the rest of the record."""
    correct, queries = result.by_episode, result.way * result.queries
    if len(correct) != result.episodes:
        raise ValueError(f"it has answers of {len(correct)} episodes, not {result.episodes}")
    if not correct or queries < 1:
        raise ValueError("it has no queries")
    if not 0 <= min(correct) <= max(correct) <= queries:
        raise ValueError(f"correct answers range from {min(correct)} to {max(correct)} of {queries} queries")
    if not abs(sum(correct) / (len(correct) * queries) - result.accuracy) <= 1e-6:  # also False for NaN
        raise ValueError("its accuracy does not match its answers")


def compare(a: Record, b: Record, name_a: str = "A", name_b: str = "B") -> Comparison:
    """Compare B with A, episode by episode. Raises `episodes-differ` if they were measured on different episodes."""
    episodes = [(r.episodes_sha256, r.result.episodes, r.result.way, r.result.queries) for r in (a, b)]
    if episodes[0] != episodes[1]:
        raise MaclipError(
            "episodes-differ",
            f"{name_a} and {name_b} were measured on different episodes, so they cannot be paired.",
            "Evaluate both with the same data, split, --way, --shot, --queries, --episodes and --seed.",
        )
    if a.clips_sha256 != b.clips_sha256:
        raise MaclipError(
            "episodes-differ",
            f"{name_a} and {name_b} were measured on clips of the same names, but not on the same files.",
            "Evaluate both on the same clips or on copies of them, not on clips that were encoded or generated again.",
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
    """The confusion matrix as CSV: counts of queries, true classes in rows, answers in columns."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["true class", *result.names])
    rows.writerows([name, *row] for name, row in zip(result.names, result.confusion, strict=True))
    return out.getvalue()
