"""Which actions a gallery holds, from which clips, and which videos are watched with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maclip.data.untrimmed import UntrimmedVideo
from maclip_runtime.bundle.names import name_key
from maclip_runtime.errors import MaclipError

MAX_TRIES = 100  # random galleries that are tried for one that works


@dataclass(frozen=True)
class Cut:
    """Segment number `segment` of video number `video`."""

    video: int
    segment: int


@dataclass(frozen=True)
class GalleryPlan:
    """One gallery.

    names: the enrolled actions.
    support: the clips of each, in the order of `names`: segments, or files.
    watched: numbers of the videos that are watched; none of them gives a clip.
    """

    names: tuple[str, ...]
    support: tuple[tuple[Cut | Path, ...], ...]
    watched: tuple[int, ...]


def cuts_of(videos: Sequence[UntrimmedVideo], spelling: Mapping[str, str]) -> dict[str, list[Cut]]:
    """All annotated segments, by action; `spelling` is that of each action's name, by its key."""
    return group_cuts(
        (number, place, spelling[name_key(one.name)])
        for number, video in enumerate(videos)
        for place, one in enumerate(video.segments)
    )


def group_cuts(cuts: Iterable[tuple[int, int, str]]) -> dict[str, list[Cut]]:
    """Cuts by action, from the numbers of video and segment and the action's name."""
    found: dict[str, list[Cut]] = {}
    for video, segment, name in cuts:
        found.setdefault(name, []).append(Cut(video, segment))
    return found


def plan_galleries(
    cuts: Mapping[str, Sequence[Cut]],
    videos: int,
    *,
    way: int,
    shot: int,
    galleries: int,
    seed: int,
    clips: Mapping[str, Sequence[Path]] | None = None,
) -> list[GalleryPlan]:
    """Random galleries; a gallery is the same whatever their number.

    cuts: the segments of each action that can be cut out.
    videos: how many there are.
    way, shot: actions of a gallery, and clips of each.
    clips: trimmed clips of each action; all videos are watched then. Default None: segments are enrolled, and the
        videos that they come from are not watched.
    Raises `too-few-clips`.
    """
    able = sorted(name for name in cuts if clips is None or len(clips.get(name, ())) >= shot)
    if len(able) < way:
        what = "happen in the videos" if clips is None else f"happen in the videos and have {shot} clips"
        raise _too_few(f"{len(able)} actions {what}, and a gallery takes {way}.")
    return [_plan(cuts, videos, able, way, shot, np.random.default_rng((seed, n)), clips) for n in range(galleries)]


def _plan(
    cuts: Mapping[str, Sequence[Cut]],
    videos: int,
    able: Sequence[str],
    way: int,
    shot: int,
    rng: np.random.Generator,
    clips: Mapping[str, Sequence[Path]] | None,
) -> GalleryPlan:
    for _ in range(MAX_TRIES):
        names = tuple(able[index] for index in sorted(rng.permutation(len(able))[:way].tolist()))
        if clips is not None:
            return GalleryPlan(names, tuple(_some(clips[name], shot, rng) for name in names), tuple(range(videos)))
        source = _source(cuts, names, shot, rng.permutation(videos).tolist())
        watched = tuple(number for number in range(videos) if number not in source)
        if any(cut.video in watched for name in names for cut in cuts[name]):
            own = ([cut for cut in cuts[name] if cut.video in source] for name in names)
            support = [_some(found, shot, rng) for found in own if len(found) >= shot]
            if len(support) == way:
                return GalleryPlan(names, tuple(support), watched)
    raise _too_few(
        f"No {way} actions have {shot} segments each in some videos and happen in the others too: "
        f"{MAX_TRIES} random choices were tried."
    )


def _source(cuts: Mapping[str, Sequence[Cut]], names: Sequence[str], shot: int, order: Sequence[int]) -> set[int]:
    """The first videos of `order` that give enough segments of all `names`, without those that add nothing."""
    missing = dict.fromkeys(names, shot)
    source: set[int] = set()
    for video in order:
        found = {name: sum(cut.video == video for cut in cuts[name]) for name in names if missing[name] > 0}
        if any(found.values()):
            source.add(video)
            for name, count in found.items():
                missing[name] -= count
    return source


def _some(items: Sequence[Cut] | Sequence[Path], count: int, rng: np.random.Generator) -> tuple[Cut | Path, ...]:
    return tuple(items[index] for index in rng.permutation(len(items))[:count].tolist())


def _too_few(what: str) -> MaclipError:
    return MaclipError(
        "too-few-clips", f"{what}", "Lower --way or --shot, annotate more videos, or give trimmed clips as DATA."
    )
