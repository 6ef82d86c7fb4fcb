"""Evaluate a model on untrimmed video: the function behind `maclip.evaluate_streams` and `maclip eval --streams`."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from maclip.config import EvaluationConfig
from maclip.data.dataset import Dataset
from maclip.data.opening import open_data
from maclip.data.untrimmed import UntrimmedVideo, open_untrimmed
from maclip.evaluation.api import ProgressOf, identity, support_names
from maclip.evaluation.streams.encoder import encoder_of
from maclip.evaluation.streams.galleries import Cut, GalleryPlan, cuts_of, plan_galleries
from maclip.evaluation.streams.open_set import auroc, strangers_passing
from maclip.evaluation.streams.record import STREAM_RECORD_FORMAT, STREAMS, GalleryScores, StreamRecord, summarise
from maclip.evaluation.streams.scoring import Watched, score_events, total
from maclip.evaluation.streams.watching import SeenVideo, usable_cuts, watch_videos
from maclip.model.maclip import MaClip
from maclip.runs import Run
from maclip.version import __version__
from maclip_runtime.bundle.names import name_key
from maclip_runtime.decisions import Decisions
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.fleet import HERE, Fleet
from maclip_runtime.gallery import Gallery
from maclip_runtime.matching.clips import read_take
from maclip_runtime.matching.distances import match_all
from maclip_runtime.matching.index import WINDOW_SHARE, Index
from maclip_runtime.reading.frames import Floats
from maclip_runtime.reading.take import Take
from maclip_runtime.recognizer import Recognizer
from maclip_runtime.streaming import Grid


def evaluate_streams(
    model: MaClip | Run,
    streams: Sequence[UntrimmedVideo] | str | Path,
    config: EvaluationConfig | None = None,
    *,
    videos: str | Path | None = None,
    clips: Dataset | str | Path | None = None,
    split: str = "test",
    decisions: Decisions | None = None,
    device: str | None = None,
    max_broken: float = 0.0,
    pretrained: str | None = None,
    progress: ProgressOf = lambda what: lambda done, total: None,
    note: Callable[[str], None] = lambda text: None,
    fleet: Fleet = HERE,
) -> StreamRecord:
    """How a model recognises actions of untrimmed video from a few clips, over random galleries.

    Each gallery enrolls a few clips of some actions and watches videos through the device's own windows, limits and
    decisions. The other actions that happen are strangers to it. All galleries share one length of window.

    model: a model, or a run. Of a run the limit chosen on validation classes is the prior, as in a bundle.
    streams: untrimmed videos, or their file of annotations.
    config: `way` actions of a gallery, `shot` clips of each, `names`, `seed`, `galleries`, `window`; the rest is of
        episodes. Default: 20 galleries, 5-way 1-shot.
    videos: folder of the videos; default: that of the file of annotations.
    clips: dataset, or its folder, whose trimmed clips are enrolled; default: segments, cut out exactly, of videos that
        the gallery does not watch.
    split: "train", "val" or "test"; default "test".
    decisions: when an answer counts; default: the device's.
    device: "cpu" or "cuda"; default: the device of the model, for a run the CPU.
    max_broken: largest share of unreadable videos, 0..1; these are left out. Default 0.
    pretrained: new path of the backbone's weights, for a run whose weights were moved.
    progress: called with the name of a part of the work; returns a callback for (done, total).
    note: called with a message for each video or segment that was left out.
    fleet: whose workers watch the videos (`maclip_runtime.fleet`); default: this process.
    Raises `data-empty`, `too-few-clips`, `clip-too-short`, `answers-not-finite`, `clip-unreadable`, and what
    `open_untrimmed` and loading a run raise.
    """
    config = config or EvaluationConfig()
    if config.average != "prototypes":
        raise MaclipError("option-invalid", "A device averages shots as prototypes.", "Leave out --average.")
    where = "" if isinstance(streams, Sequence) and not isinstance(streams, str) else str(streams)
    listed = open_untrimmed(streams, videos) if isinstance(streams, (str, Path)) else tuple(streams)
    own = _of_split(listed, split, where)
    spelling = _spelling(own)
    trimmed = _trimmed(clips, split, spelling)
    limit = model.config.chosen.limit if isinstance(model, Run) and model.config.chosen else None
    taught = set(map(name_key, model.config.taught)) if isinstance(model, Run) else set()
    name, digest = identity(model)
    names = support_names(model, config.names)
    loaded = model.model(pretrained) if isinstance(model, Run) else model
    if device is not None:
        loaded = loaded.to(device)
    window_s = config.watching.window or WINDOW_SHARE * median(
        one.end_s - one.start_s for video in own for one in video.segments
    )
    encoder = encoder_of(loaded, sorted(spelling.values()), limit)
    grid = Grid.of(encoder.bundle.manifest.frames, window_s)
    plan = partial(
        plan_galleries, way=config.episode.way, shot=config.episode.shot,
        galleries=config.watching.galleries, seed=config.seed, clips=trimmed[1] if trimmed else None,
    )  # fmt: skip
    plan(cuts_of(own, spelling), len(own))  # raises `too-few-clips` before the videos are watched
    seen, left_out = watch_videos(own, spelling, encoder, grid, max_broken, progress("videos"), fleet)
    for line in left_out:
        note(line)
    plans = plan(usable_cuts(seen), len(seen))
    scores: list[GalleryScores] = []
    report = progress("galleries")
    for one in plans:
        scores.append(_score(one, seen, encoder, names, decisions or Decisions(), grid))
        report(len(scores), len(plans))
    return StreamRecord(
        kind=STREAMS,
        format=STREAM_RECORD_FORMAT,
        tool_version=__version__,
        model=name,
        adapters_sha256=digest,
        streams=where,
        split=split,
        data=trimmed[0] if trimmed else None,
        way=config.episode.way,
        shot=config.episode.shot,
        seed=config.seed,
        names=names,
        window_s=round(window_s, 6),
        hop_s=round(grid.hop_s, 6),
        galleries_sha256=_digest(plans, seen),
        figures=summarise(scores),
        galleries=tuple(scores),
        seen_in_training=tuple(sorted(spelled for key, spelled in spelling.items() if key in taught)),
        left_out=tuple(left_out),
    )


def _of_split(videos: Sequence[UntrimmedVideo], split: str, where: str) -> list[UntrimmedVideo]:
    """The videos of a split, of which at least one has a segment. Raises `data-empty`."""
    own = [video for video in videos if video.split in (split, None)]
    if not any(video.segments for video in own):
        what = f"no action of split {split!r}" if own else f"no video of split {split!r}"
        raise MaclipError(
            "data-empty", f"{where or 'The untrimmed video'} has {what}.", "Choose another split, or annotate videos."
        )
    return own


def _spelling(videos: Sequence[UntrimmedVideo]) -> dict[str, str]:
    """One spelling of each action's name, by its key."""
    found: dict[str, str] = {}
    for name in sorted({one.name for video in videos for one in video.segments}):
        found.setdefault(name_key(name), name)
    return found


def _trimmed(
    clips: Dataset | str | Path | None, split: str, spelling: dict[str, str]
) -> tuple[str, dict[str, tuple[Path, ...]]] | None:
    """The folder of a dataset, and its clips of the actions that happen in the videos."""
    if clips is None:
        return None
    data = clips if isinstance(clips, Dataset) else open_data(clips)
    found = {spelling[key]: c.clips for c in data.split(split) if (key := name_key(c.name)) in spelling}
    if not found:
        raise MaclipError(
            "data-empty",
            f"No class of split {split!r} in {data.root} is an action of the videos.",
            "Give clips of the same actions, or leave DATA out.",
        )
    return str(data.root), found


def _score(
    plan: GalleryPlan, seen: Sequence[SeenVideo], encoder: Encoder, names: str, decisions: Decisions, grid: Grid
) -> GalleryScores:
    """Enroll one gallery, watch its videos, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Gallery(Path(folder) / "gallery.db", contract=encoder.bundle.manifest.contract)
        with kept:
            recognizer = Recognizer(encoder.bundle, kept, encoder, decisions)
            _enroll(recognizer, plan, seen, names)
            index = recognizer.index.ready()
    watched = [seen[number] for number in plan.watched]
    events = total([score_events(_watched(video, index, encoder, grid), decisions, 1) for video in watched])
    return GalleryScores(
        names=plan.names,
        hours=events.hours,
        actions=events.actions,
        found=events.found,
        repeated=events.repeated,
        false_alarms=events.false_alarms,
        f1=events.f1,
        precision=events.precision,
        recall=events.recall,
        false_alarms_an_hour=events.false_alarms / events.hours,
        latency_s=median(events.latency_s) if events.latency_s else None,
        **_open_set(index, encoder, watched),
    )


def _enroll(recognizer: Recognizer, plan: GalleryPlan, seen: Sequence[SeenVideo], names: str) -> None:
    for place, (name, support) in enumerate(zip(plan.names, plan.support, strict=True)):
        text = {"own": name, "none": None, "wrong": plan.names[(place + 1) % len(plan.names)]}[names]
        takes = [
            _take(seen[one.video], one.segment) if isinstance(one, Cut) else read_take(one, recognizer.bundle.manifest)
            for one in support
        ]
        # The quality gate is not what is measured here.
        recognizer.enroller.enroll_takes(name, takes, text=text, no_text=text is None, force=True)


def _take(video: SeenVideo, place: int) -> Take:
    one, clip = video.segments[place], video.clips[place]
    assert clip is not None
    where = f"{video.path.name} {one.start_s:g} to {one.end_s:g} s"
    return Take(clip, min(one.end_s, video.duration_s) - one.start_s, where, prepared=True)


def _watched(video: SeenVideo, index: Index, encoder: Encoder, grid: Grid) -> Watched:
    found = match_all(encoder, video.windows, index.prototypes, index.text, index.has_text)
    _require_finite(found.distances, found.probabilities)
    return Watched(
        index.names,
        index.limits,
        found.distances,
        found.probabilities,
        video.start_s,
        grid.window_s,
        grid.hop_s,
        video.duration_s,
        tuple(one for one in video.segments if one.name in index.names),
    )


def _open_set(index: Index, encoder: Encoder, watched: Sequence[SeenVideo]) -> dict[str, float | None]:
    """`accuracy`, `auroc` and `strangers_passing` of the segments cut out exactly (see `GalleryScores`).

    Segments that overlap others are not asked for: they show two things.
    """
    figures: dict[str, float | None] = {"accuracy": None, "auroc": None, "strangers_passing": None}
    asked = [
        (one.name, features)
        for video in watched
        for one, features, alone in zip(video.segments, video.features, video.alone, strict=True)
        if features is not None and alone
    ]
    if not asked:
        return figures
    queries = np.stack([features for _, features in asked])
    match = match_all(encoder, queries, index.prototypes, index.text, index.has_text)
    _require_finite(match.distances, match.probabilities)
    best = match.probabilities.argmax(axis=1)
    distance = match.distances[np.arange(len(best)), best].astype(np.float64)  # which `judge` compares with the limit
    truth = np.array([index.names.index(name) if name in index.names else -1 for name, _ in asked])
    known = truth >= 0
    if known.any():
        figures["accuracy"] = float((best == truth)[known].mean())
        if not known.all():
            figures["auroc"] = auroc(distance[known], distance[~known])
            figures["strangers_passing"] = strangers_passing(distance[known], distance[~known])
    return figures


def _require_finite(*arrays: Floats) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise MaclipError(
            "answers-not-finite",
            "The model outputs NaN or infinity: its weights are not finite or too large.",
            "Train it again with a lower learning rate.",
        )


def _digest(plans: Sequence[GalleryPlan], seen: Sequence[SeenVideo]) -> str:
    """What the figures of two models must share to be paired, as hex; independent of folders."""

    def named(support: Iterable[Cut | Path]) -> list[str]:
        return [
            f"{one.video} {one.segment}" if isinstance(one, Cut) else f"{one.parent.name}/{one.name}" for one in support
        ]

    videos = [
        [video.path.name, video.path.stat().st_size, [[one.name, one.start_s, one.end_s] for one in video.segments]]
        for video in seen
    ]
    galleries = [[plan.names, [named(support) for support in plan.support], plan.watched] for plan in plans]
    return hashlib.sha256(json.dumps([videos, galleries]).encode()).hexdigest()
