"""Evaluate a model on few-shot episodes: the function behind `maclip.evaluate` and `maclip eval`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from maclip.backbones.loading import state_sha256
from maclip.config import EvaluationConfig
from maclip.data.clip_reader import ClipReader
from maclip.data.clip_store import ClipStore, Progress
from maclip.data.dataset import ActionClass, Dataset
from maclip.data.disk_cache import ClipCache
from maclip.data.episodes import EpisodeSampler
from maclip.data.opening import open_data
from maclip.evaluation.evaluator import Evaluator, Support
from maclip.evaluation.record import RECORD_FORMAT, Record, clips_sha256, episodes_sha256
from maclip.model.maclip import MaClip
from maclip.runs import Run
from maclip.version import __version__
from maclip_runtime.bundle.names import name_key
from maclip_runtime.errors import MaclipError
from maclip_runtime.fleet import HERE, Fleet

MAX_CLASSES_NAMED = 5  # in a message

ProgressOf = Callable[[str], Progress]


def evaluate(
    model: MaClip | Run,
    classes: Dataset | Sequence[ActionClass] | str | Path,
    config: EvaluationConfig | None = None,
    *,
    split: str = "test",
    device: str | None = None,
    decoder: str = "pyav",
    frame_cache: Path | None = None,
    max_broken: float = 0.0,
    pretrained: str | None = None,
    progress: ProgressOf = lambda what: lambda done, total: None,
    note: Callable[[str], None] = lambda text: None,
    fleet: Fleet = HERE,
) -> Record:
    """Few-shot accuracy over seeded episodes of classes that are not in training (docs/method.md, section 6).

    model: a model, or a run. Of a run the trained model is loaded and the record names classes seen in training.
    classes: a dataset or its folder, of which the classes of `split` are used; or the classes themselves.
    config: way, shot, episodes, seed, names; default: 10,000 episodes, 5-way 1-shot, and the names that the training of
        a run chose (a model in memory: own).
    split: "train", "val" or "test"; default "test".
    device: "cpu" or "cuda"; default: the device of the model, for a run the CPU.
    decoder, frame_cache: how clips are read, see `maclip.config.Machine`.
    max_broken: largest share of unreadable clips, 0..1; these are left out. Default 0.
    pretrained: new path of the backbone's weights, for a run whose weights were moved.
    progress: called with the name of a part of the work; returns a callback for (done, total).
    note: called with a message for each folder, clip or class that was left out.
    fleet: whose workers encode the clips and answer the episodes (`maclip_runtime.fleet`); default: this process.
    Raises `data-empty`, `too-few-clips`, `answers-not-finite`, `clip-unreadable` and what loading a run raises.
    """
    config = config or EvaluationConfig()
    chosen, where, left_out = _classes(classes, split)
    task = config.episode
    sizes = [len(c.clips) for c in chosen]
    EpisodeSampler(sizes, task.way, task.shot, task.queries, config.seed)  # raises `too-few-clips` early
    taught = set(map(name_key, model.config.taught)) if isinstance(model, Run) else set()
    name, digest = identity(model)
    loaded = model.model(pretrained) if isinstance(model, Run) else model
    if device is not None:
        loaded = loaded.to(device)
    cache = ClipCache(frame_cache, note) if frame_cache else None
    reader = ClipReader(loaded.backbone.preprocess, loaded.config.frames, decoder, cache)
    store = ClipStore(chosen, reader, max_broken=max_broken, views=False)
    evaluator = Evaluator(
        loaded, store, progress("features"), Support(support_names(model, config.names), config.average), fleet
    )
    broken = tuple(store.broken.report())
    need = task.shot + task.queries
    small = tuple(c.name for c in evaluator.classes if len(c.clips) < need)
    for line in (*left_out, *(f"left out: {line}" for line in broken), *_too_small(small, need)):
        note(line)
    result = evaluator.evaluate(
        task.way, task.shot, config.episodes, config.seed, progress=progress("episodes"), queries=task.queries
    )
    return Record(
        format=RECORD_FORMAT,
        tool_version=__version__,
        model=name,
        adapters_sha256=digest,
        data=where,
        split=split,
        episodes_sha256=episodes_sha256(evaluator.classes, result),
        by_class=result.by_class,
        result=result,
        seen_in_training=tuple(c.name for c in chosen if name_key(c.name) in taught),
        clips_sha256=clips_sha256(evaluator.classes),
        left_out=broken,
        too_small=small,
    )


def support_names(model: MaClip | Run | None, asked: str) -> str:
    """The names of support clips, where "chosen" is what the training of a run chose; "own" for a model in memory."""
    if asked != "chosen":
        return asked
    return model.config.support_names if isinstance(model, Run) else "own"


def _classes(
    classes: Dataset | Sequence[ActionClass] | str | Path, split: str
) -> tuple[Sequence[ActionClass], str, tuple[str, ...]]:
    """The classes to evaluate, the folder of their dataset, and messages about what was left out of it."""
    if isinstance(classes, (str, Path)):
        classes = open_data(classes)
    if not isinstance(classes, Dataset):
        return classes, "", ()
    found = classes.split(split)
    if not found:
        raise MaclipError("data-empty", f"{classes.root} has no class of split {split!r}.", "Choose another split.")
    return found, str(classes.root), classes.left_out


def _too_small(classes: Sequence[str], need: int) -> tuple[str, ...]:
    if not classes:
        return ()
    more = f" and {len(classes) - MAX_CLASSES_NAMED} more" if len(classes) > MAX_CLASSES_NAMED else ""
    named = ", ".join(map(repr, classes[:MAX_CLASSES_NAMED]))
    return (f"left out: {named}{more}: fewer than {need} readable clips, as many as an episode takes of a class",)


def identity(model: MaClip | Run) -> tuple[str, str | None]:
    """A name of the model for the record, and the digest of its tuned tensors."""
    if isinstance(model, Run):
        return str(model.path), model.adapters_sha256
    state = model.tuned_state()
    return f"{model.backbone.name}, in memory", state_sha256(state) if state else None
