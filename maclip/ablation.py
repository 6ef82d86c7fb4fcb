"""Ablations: one backbone trained in several ways on the same data and asked the same episodes.

The rows are those of the paper's ablation (docs/method.md, section 7). Work that is done is kept: a row that was
stopped resumes, and one that is finished is not trained again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from maclip.adapters import foreign_options
from maclip.building import build
from maclip.config import EvaluationConfig, Machine, ModelConfig, TrainConfig
from maclip.config.model import NONE
from maclip.data.dataset import Dataset, data_sha256
from maclip.data.opening import open_data
from maclip.data.split_lists import SplitLists
from maclip.evaluation.api import evaluate, support_names
from maclip.evaluation.evaluator import Result, Support
from maclip.evaluation.record import Comparison, Record, compare, read_record, write_record
from maclip.evaluation.selection import choose_fusion_weight
from maclip.model.maclip import MaClip
from maclip.runs import CONFIG_FILE, Run
from maclip.training.api import resume, train_new
from maclip.training.callbacks import Callbacks
from maclip.training.choosing import CHOOSING_EPISODES, VALIDATION_SEED, VALIDATION_WAY
from maclip.training.distributed import pick_device
from maclip_runtime.errors import MaclipError

BLOCKS = MappingProxyType({"adapters": "blocks"})
HEAD_ALONE = MappingProxyType({"adapters": NONE})
NOTHING = MappingProxyType({**HEAD_ALONE, "prototype": NONE})


@dataclass(frozen=True)
class AblationRow:
    """One way to train: `words` for a table, and the options of `ModelConfig` that differ; `trained` False: frozen."""

    words: str
    options: Mapping[str, Any]
    trained: bool = True


ROWS: Mapping[str, AblationRow] = MappingProxyType(
    {
        "frozen": AblationRow("nothing trained", NOTHING, trained=False),
        "tpcm": AblationRow("prototype module only", HEAD_ALONE),
        "adapters": AblationRow("adapters only", {**BLOCKS, "prototype": NONE}),
        "both": AblationRow("adapters and prototype module (the paper)", BLOCKS),
        "ladder": AblationRow("ladder and prototype module", {"adapters": "ladder"}),
        "full-tuning": AblationRow("image tower fine-tuned", {**NOTHING, "tune": "all"}),
        "no-text-token": AblationRow("both, no text token in the blocks", {**BLOCKS, "text_token": False}),
        "transformer": AblationRow(
            "adapters, plain transformer for prototypes", {**BLOCKS, "prototype": "transformer"}
        ),
        "clip-fsar": AblationRow(
            "adapters, CLIP-FSAR's transformer for prototypes", {**BLOCKS, "prototype": "clip-fsar"}
        ),
        "raw-text": AblationRow("both, raw text in the prototype module", {**BLOCKS, "prototype_text": "raw"}),
        "bimhm": AblationRow("both, Bi-MHM", {**BLOCKS, "metric": "bimhm"}),
        "trx": AblationRow("both, TRX", {**BLOCKS, "metric": "trx"}),
    }
)
KINDS = {ModelConfig.of(**row.options).adapters.kind for row in ROWS.values()}
DEFAULT_ROWS = ("frozen", "tpcm", "adapters", "both")


@dataclass(frozen=True)
class AblationResult:
    """What a row came to: the records of its evaluations by shots, and its run, None where nothing was trained."""

    name: str
    row: AblationRow
    records: Mapping[int, Record]
    run: Run | None

    def against(self, other: AblationResult, shot: int) -> Comparison:
        """This row against `other` on the same episodes. Raises `episodes-differ`."""
        return compare(other.records[shot], self.records[shot], other.name, self.name)


def ablate(
    data: Dataset | str | Path,
    out: str | Path,
    rows: Sequence[str] = DEFAULT_ROWS,
    *,
    backbone: str = "ViT-B-16",
    pretrained: str = "openai",
    model: ModelConfig | None = None,
    train: TrainConfig | None = None,
    evaluation: EvaluationConfig | None = None,
    shots: Sequence[int] = (1, 5),
    split: str = "test",
    lists: SplitLists | None = None,
    machine: Machine | None = None,
    callbacks: Callbacks | None = None,
) -> list[AblationResult]:
    """Train and evaluate each of `rows`; a folder each in `out`, with its run and its records.

    data: a dataset, or its folder.
    out: a folder for the runs, new or of the same ablation before.
    rows: names of `ROWS`.
    backbone, pretrained: as for `maclip.build`.
    model, train, evaluation: what all rows share; a row changes what it is about. Each row has its own kind of
        adapters, and reads the options of that kind alone.
    shots: the evaluations of each row.
    split: the classes that are asked.
    lists: public split lists for a folder.
    machine, callbacks: as for `maclip.train`.
    Raises `option-invalid` for an unknown row, and what training and evaluation raise.
    """
    for name in rows:
        if name not in ROWS:
            raise MaclipError("option-invalid", f"There is no row {name!r}.", f"Choose of: {', '.join(ROWS)}.")
    model, train, machine = model or ModelConfig(), train or TrainConfig(), machine or Machine()
    if model.adapters.kind not in KINDS:
        raise MaclipError(
            "option-invalid",
            f"No row has --adapters {model.adapters.kind}: each has its own kind of adapters.",
            "Leave out --adapters, or compare with a run of your own: maclip train, maclip eval, maclip compare.",
        )
    callbacks = callbacks or Callbacks()
    dataset = data if isinstance(data, Dataset) else open_data(Path(data), lists)
    reading: dict[str, Any] = {
        "device": pick_device(machine.device),
        "decoder": machine.decoder,
        "frame_cache": machine.frame_cache,
        "max_broken": machine.max_broken,
    }
    results = []
    for name in rows:
        row, folder = ROWS[name], Path(out) / name
        callbacks.note(f"{name}: {row.words}")
        config = _changed(model, row)
        run = None
        if row.trained:
            run = _trained(dataset, folder / "run", backbone, pretrained, config, train, lists, machine, callbacks)
        records = {}
        for shot in shots:
            asked = (evaluation or EvaluationConfig()).changed(shot=shot)
            file = folder / f"{split}-{shot}-shot.json"
            if not (file.is_file() and _answers(read_record(file).result, asked, run)):
                subject = run or _frozen(build(backbone, pretrained, config=config), dataset, reading, callbacks)
                found = evaluate(subject, dataset, asked, split=split, progress=callbacks.progress, **reading)
                write_record(file, found)
            records[shot] = read_record(file)
        results.append(AblationResult(name, row, records, run))
    return results


def _changed(model: ModelConfig, row: AblationRow) -> ModelConfig:
    """`model` as `row` has it, without the options of other kinds of adapters than the row's."""
    config = model.changed(**row.options)
    return config.changed(**{one.name: one.default for one in foreign_options(config.adapters)})


def _answers(result: Result, asked: EvaluationConfig, run: Run | None) -> bool:
    """Whether `result` is of the evaluation that is `asked`, of `run` or of frozen CLIP."""
    task, support = asked.episode, Support(support_names(run, asked.names), asked.average)
    wanted = (task.way, task.shot, task.queries, asked.episodes, asked.seed, support)
    return (result.way, result.shot, result.queries, result.episodes, result.seed, result.support) == wanted


def _frozen(model: MaClip, data: Dataset, reading: Mapping[str, Any], callbacks: Callbacks) -> MaClip:
    """`model` with the fusion weight chosen on validation classes, as training chooses it."""
    held_out = [c for c in data.split("val") if len(c.clips) >= 2] if data.has_splits() else []
    if len(held_out) >= 2:
        way = min(VALIDATION_WAY, len(held_out))
        config = EvaluationConfig.of(way=way, episodes=CHOOSING_EPISODES, seed=VALIDATION_SEED + 1)
        found = evaluate(model, data, config, split="val", progress=callbacks.progress, **reading)
        model.config = model.config.changed(fusion_weight=choose_fusion_weight(found.result))
    return model


def _trained(
    data: Dataset,
    folder: Path,
    backbone: str,
    pretrained: str,
    model: ModelConfig,
    train: TrainConfig,
    lists: SplitLists | None,
    machine: Machine,
    callbacks: Callbacks,
) -> Run:
    """The finished run in `folder`: as it is, resumed, or trained now. Raises `resume-differs`."""
    if (folder / CONFIG_FILE).is_file():
        run = Run.open(folder)
        known = run.config
        found = (known.model, known.train, known.backbone.name, known.data_sha256)
        if found != (model, train, backbone, data_sha256(data)):
            raise MaclipError(
                "resume-differs",
                f"{folder} was trained with other options or on other clips.",
                "Choose another folder for this ablation.",
            )
        if run.config.chosen is not None:
            return run
        resume(folder, machine=machine, callbacks=callbacks)
    else:
        train_new(data, folder, backbone, pretrained, model, train, lists=lists, machine=machine, callbacks=callbacks)
    return Run.open(folder)
