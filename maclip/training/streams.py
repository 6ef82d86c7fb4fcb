"""The pool of windows of untrimmed video from which the episodes of a training take some of their queries."""

from __future__ import annotations

from pathlib import Path

from maclip.config.training import StreamConfig, TrainConfig
from maclip.data.clip_store import ClipStore
from maclip.data.disk_cache import ClipCache
from maclip.data.stem_cache import Stem
from maclip.data.stream_store import StreamStore
from maclip.data.stream_windows import Windows, draw_windows, stitch
from maclip.data.untrimmed import open_untrimmed
from maclip.training.callbacks import Callbacks
from maclip_runtime.errors import MaclipError

NO_STREAMS, STITCH = "none", "stitch"
OF_CLASS = 40  # windows of each class in the pool
NONE_RATIO = 0.75  # windows of no class in the pool, for each of a class


def absolute_streams(config: TrainConfig) -> TrainConfig:
    """`config` with absolute paths of annotated video."""
    paths = {"streams": config.streams.streams, "stream_videos": config.streams.stream_videos}
    kept = (None, NO_STREAMS, STITCH)
    return config.changed(**{name: str(Path(path).resolve()) for name, path in paths.items() if path not in kept})


def stream_windows(
    config: StreamConfig,
    store: ClipStore,
    stem: Stem | None,
    *,
    seed: int,
    callbacks: Callbacks,
    disk: ClipCache | None = None,
) -> Windows | None:
    """The windows that `config` asks for; None for none.

    store: the training clips, in the cache if there is one.
    stem: whose tokens the store caches; None if it has no cache.
    seed: of the training.
    callbacks: called on progress.
    disk: holds the tokens of annotated video for later runs; default None.
    Raises `streams-too-small`, `data-empty` and what `open_untrimmed` and reading raise.
    """
    if config.streams == NO_STREAMS:
        return None
    classes, frames = len(store.classes), store.reader.frames
    counts = {"of_class": OF_CLASS, "of_none": round(OF_CLASS * NONE_RATIO * classes)}
    if config.streams == STITCH:
        timelines = stitch(store.labels, store.row_frames, store.readable(), seed=seed)
        rows, labels = draw_windows(timelines, frames, classes, **counts, seed=seed)
        return Windows(labels, lambda ids: store.load_rows(rows[ids]))
    folder = None if config.stream_videos is None else Path(config.stream_videos)
    videos = [one for one in open_untrimmed(Path(config.streams), folder) if one.split in (None, "train")]
    if not videos:
        raise MaclipError(
            "data-empty", f"{config.streams} has no video for training.", "Give videos of the subset 'training'."
        )
    names = [one.name for one in store.classes]
    streams = StreamStore(videos, names, store.reader, rate=config.stream_rate, workers=store.workers)
    streams.read(stem, disk=disk, progress=callbacks.progress("streams"))
    rows, labels = draw_windows(streams.timelines, frames, classes, **counts, seed=seed)
    return Windows(labels, lambda ids: streams.load(rows[ids]))
