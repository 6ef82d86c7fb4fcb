"""The Python interface of a store: index videos, find an action in them, replay them as if they had been watched."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from os import PathLike
from pathlib import Path
from urllib.parse import quote

import numpy as np

from maclip_runtime import values
from maclip_runtime.archive.events import events_of
from maclip_runtime.archive.happenings import happenings
from maclip_runtime.archive.indexing import Indexed, Progress, index_videos
from maclip_runtime.archive.search import Searcher
from maclip_runtime.archive.store import Store, mismatch, open_store, writing
from maclip_runtime.archive.videos import expanded, state_of
from maclip_runtime.archive.view import Filters, View
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.decisions import Decisions, Event, match_of
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.fleet import HERE, Fleet, checked
from maclip_runtime.gallery import Gallery
from maclip_runtime.matching.clips import read_take
from maclip_runtime.matching.index import build_index
from maclip_runtime.reading.frames import Floats
from maclip_runtime.recognizer import Recognizer
from maclip_runtime.sources import scheme_of
from maclip_runtime.streaming import Grid, window_of

PathOrName = str | PathLike[str]

DEFAULT_WINDOW_S = 2.0  # of a new store, where nothing says how long the actions are
SCHEMA = 1  # of a result as JSON


@dataclasses.dataclass(frozen=True)
class Found:
    """One result: where an action like the given one happens.

    Attributes:
        rank: 1 for the nearest.
        source: the video as it was given when it was indexed.
        path: its absolute path.
        start_s, end_s: from when to when it happens, in seconds of the video.
        window_start_s, window_end_s: the window that is nearest.
        distance: of that window, in the metric's own unit.
        match: how well the distance fits, 0..1 (see `match_of`).
        windows: how many windows in a row show it.
        length_s: how long the video lasts; None: it is not indexed to its end.
        video: whether the video is "there", "changed" since it was indexed, or "missing".
        link: the address of the place in the video.
    """

    rank: int
    source: str
    path: str
    start_s: float
    end_s: float
    window_start_s: float
    window_end_s: float
    distance: float
    match: float
    windows: int
    length_s: float | None
    video: str
    link: str


@dataclasses.dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        found: the results, the nearest first.
        windows: how many windows were searched.
        hours: how many hours of video they stand for.
        measured: how many of them the bundle's own metric was computed for.
        typical: the median distance of the searched windows; NaN for an empty search.
        limit: the distance above which the answer would be "unknown"; None: no limit.
        seconds: of the stages "open", "query", "coarse", "exact" and "results".
    """

    found: tuple[Found, ...]
    windows: int
    hours: float
    measured: int
    typical: float
    limit: float | None
    seconds: dict[str, float]


class Archive:
    """The features of every window of many videos, computed once. Open one with `Archive.open`, in a `with` block.

    Other programs may index into the same store; each call sees what is there when it begins.
    """

    def __init__(self, store: PathOrName, encoder: Encoder) -> None:
        """A store at the folder `store`, with the graphs of a bundle; `close` closes them."""
        self.path = values.path(store, "store")
        self.encoder = encoder

    @classmethod
    def open(
        cls,
        store: PathOrName,
        bundle: PathOrName | Bundle,
        *,
        device: str = "auto",
        allow_fallback: bool = False,
        threads: int | None = None,
        trust_engines: bool = False,
    ) -> Archive:
        """Open a store with a bundle.

        Args:
            store: the folder; the first indexing makes it.
            bundle, device, allow_fallback, threads, trust_engines: as for `Recognizer.open`.

        Raises what opening a bundle and an engine raises.
        """
        device, allow_fallback = values.text(device, "device"), values.flag(allow_fallback, "allow_fallback")
        store = values.path(store, "store")
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle, trust_engines=trust_engines)
        return cls(store, Encoder(opened, device, allow_fallback, threads))

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the loaded graphs. Closing twice does nothing."""
        self.encoder.close()

    def index(
        self,
        videos: PathOrName | Sequence[PathOrName],
        *,
        window_s: float | None = None,
        hop_s: float | None = None,
        progress: Callable[[Progress], None] | None = None,
        fleet: Fleet = HERE,
    ) -> Indexed:
        """Add the windows of videos that are not there yet. May be killed at any time, and goes on from there.

        Args:
            videos: video files, folders of frames, and folders of videos, which are searched through.
            window_s: seconds of a window; default: the store's, 2 s for a new one.
            hop_s: seconds between windows; default: the store's, a quarter of the window for a new one.
            progress: called after each batch of windows and each video.
            fleet: whose workers compute the windows (`open_fleet`), a video each at a time; default: this process.

        Raises `archive-busy`, `archive-mismatch`, `archive-corrupt`, `archive-missing`, `clip-missing`,
        `window-invalid`, `output-unwritable`, `device-failed`. Videos that cannot be read are in `Indexed.failed`.
        """
        paths = values.paths(videos, "videos")
        window_s, hop_s = window_of(window_s, hop_s)
        values.function(progress, "progress")
        fleet = checked(fleet)
        if not paths:
            raise MaclipError("clip-missing", "There is no video to index.", "Give at least one video.")
        self.encoder.require_open()
        paths = list(expanded(paths))
        with writing(self.path) as store:
            return index_videos(store, self.encoder, self._grid(store, window_s, hop_s), paths, progress, fleet)

    def find(
        self,
        clips: PathOrName | Sequence[PathOrName] = (),
        *,
        class_name: str | None = None,
        gallery: PathOrName | None = None,
        top: int = 20,
        filters: Filters | None = None,
        fleet: Fleet = HERE,
    ) -> Search:
        """Find where an action happens that clips show, or that a gallery has as a class.

        Args:
            clips: video files or folders of frames that show the action.
            class_name, gallery: a class and the gallery's file, instead of clips.
            top: at most so many results.
            filters: which videos are searched; default: all.
            fleet: whose workers read the store and measure the windows; default: this process.

        Raises `option-invalid` for neither or both, `archive-empty`, `archive-mismatch`, `class-unknown`,
        `clip-unreadable`, `clip-too-short`.
        """
        paths, top = values.paths(clips, "clips"), values.whole(top, "top", minimum=1)
        filters = Filters() if filters is None else values.instance(filters, Filters, "filters")
        fleet = checked(fleet)
        if bool(paths) == (class_name is not None) or (class_name is not None) != (gallery is not None):
            raise MaclipError(
                "option-invalid", "Clips, or a class with its gallery, are needed: one of the two.",
                "Give clips that show the action, or --class NAME and --gallery FILE.",
            )  # fmt: skip
        clock = _Clock()
        store = self._opened()
        settings = store.require(self.encoder.bundle.manifest.contract)
        view = View(store, settings, filters)
        clock.stage("open")
        if class_name is not None and gallery is not None:
            prototype, limit = self._of_class(class_name, gallery)
        else:
            prototype, limit = self._of_clips(paths), self._bundle_limit()
        clock.stage("query")
        searcher = Searcher(view, self.encoder, prototype, fleet)
        ranking = searcher.rank()
        clock.seconds.update(ranking.seconds)
        clock.stage("")
        reach_s = Grid(settings.frames, settings.window_s, settings.hop).reach_s
        found: list[Found] = []
        for one in happenings(view, searcher, ranking, top, reach_s):
            record = view.videos[int(view.video[one.row])].record
            video = record.video
            window = view.times[one.row]
            found.append(
                Found(
                    len(found) + 1, video.name, video.path, one.start_s, one.end_s, float(window[0]), float(window[1]),
                    one.distance, match_of(one.distance, limit), one.windows, record.end_s,
                    state_of(video.path, video.digest), link_to(video.path, one.start_s, one.end_s),
                )
            )  # fmt: skip
        clock.stage("results")
        covered = view.times[view.video >= 0]
        hours = float((covered[:, 3] - covered[:, 2]).sum()) / 3600
        return Search(tuple(found), view.counted, hours, len(ranking.rows), ranking.typical, limit, clock.seconds)

    def events(
        self,
        gallery: PathOrName,
        *,
        decisions: Decisions | None = None,
        filters: Filters | None = None,
        fleet: Fleet = HERE,
    ) -> Iterator[Event]:
        """The events of all videos with the actions of a gallery, as `Recognizer.watch` would give them.

        Args:
            gallery: the gallery's file.
            decisions: when an answer counts; default: `Decisions()`.
            filters: which videos are looked at; default: all.
            fleet: whose workers replay the videos, one each at a time; default: this process.

        Raises `gallery-empty`, `archive-empty`, `archive-mismatch`, `gallery-corrupt`.
        """
        decisions = Decisions() if decisions is None else values.instance(decisions, Decisions, "decisions")
        filters = Filters() if filters is None else values.instance(filters, Filters, "filters")
        fleet = checked(fleet)
        contract = self.encoder.bundle.manifest.contract
        store = self._opened()
        view = View(store, store.require(contract), filters)
        with closing(Gallery(values.path(gallery, "gallery"), contract=contract)) as opened:
            recognizer = Recognizer(self.encoder.bundle, opened, self.encoder, decisions)
            index = recognizer.index.ready()
        yield from events_of(view, self.encoder, index, decisions, fleet)

    def _opened(self) -> Store:
        self.encoder.require_open()
        return open_store(self.path)

    def _grid(self, store: Store, window_s: float | None, hop_s: float | None) -> Grid:
        manifest, there = self.encoder.bundle.manifest, store.settings
        if there is None:
            return Grid.of(manifest.frames, DEFAULT_WINDOW_S if window_s is None else window_s, hop_s)
        store.require(manifest.contract)
        same = Grid(there.frames, there.window_s, there.hop)
        wanted = Grid.of(manifest.frames, there.window_s if window_s is None else window_s, hop_s or same.hop_s)
        if wanted != same:
            raise mismatch(Path(self.path), f"its windows last {same.window_s:g} s and begin every {same.hop_s:g} s")
        return same

    def _of_clips(self, paths: Sequence[str]) -> Floats:
        takes = [read_take(path, self.encoder.bundle.manifest) for path in paths]
        made = [self.encoder.prototypes(self.encoder.features(take.frames[None]))[0] for take in takes]
        prototype: Floats = np.mean(made, axis=0)
        if not np.isfinite(prototype).all():
            raise MaclipError(
                "features-invalid", "The clips' features are not finite.",
                "Try --device cpu; if that does not help, export the bundle again in float32.",
            )  # fmt: skip
        return prototype

    def _bundle_limit(self) -> float | None:
        limit = self.encoder.bundle.manifest.limit
        return None if limit is None else limit.distance

    def _of_class(self, class_name: str, gallery: PathOrName) -> tuple[Floats, float | None]:
        contract = self.encoder.bundle.manifest.contract
        with closing(Gallery(values.path(gallery, "gallery"), contract=contract)) as opened:
            name = opened.spelling(values.text(class_name, "class_name"))
            recognizer = Recognizer(self.encoder.bundle, opened, self.encoder, Decisions())
            index = recognizer.index.ready()
            if name not in index.names:
                opened.clips(name)  # raises `class-unknown` with the nearest names
            row = index.names.index(name)
            limit = float(index.limits[row])
            return index.prototypes[row], None if math.isinf(limit) else limit


def window_of_gallery(gallery: PathOrName, encoder: Encoder) -> float | None:
    """The default window of recognition with a gallery, in seconds; None if it has no class."""
    with closing(Gallery(values.path(gallery, "gallery"), contract=encoder.bundle.manifest.contract)) as opened:
        index = build_index(opened, encoder)
        return None if index is None else index.window_s


def link_to(path: str, start_s: float, end_s: float) -> str:
    """The address of a part of a video, which browsers and players open at its beginning; of a bag its address.

    >>> link_to("/videos/a b.mp4", 3, 5.25)
    'file:///videos/a%20b.mp4#t=3.00,5.25'
    """
    return path if scheme_of(path) == "bag" else f"file://{quote(path)}#t={start_s:.2f},{end_s:.2f}"


class _Clock:
    """Seconds of stages that follow each other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._begun = time.perf_counter()

    def stage(self, name: str) -> None:
        """The stage that ends now; "" for one that was counted elsewhere."""
        now = time.perf_counter()
        if name:
            self.seconds[name] = now - self._begun
        self._begun = now
