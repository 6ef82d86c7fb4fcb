"""`maclip-run index`: compute the windows of videos once, for `maclip-run find`."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from maclip_cli.console import people, print_json, results
from maclip_cli.device.options import (
    AllowFallbackOption,
    BundleOption,
    DeviceOption,
    JsonOption,
    StoreOption,
    ThreadsOption,
    TrustEnginesOption,
    require_gallery,
)
from maclip_cli.ray_option import RayOption, fleet_at, threads_of
from maclip_runtime.interrupts import sigterm_raises

if TYPE_CHECKING:
    from maclip_runtime.archive import Indexed
    from maclip_runtime.archive import Progress as Done


def index(
    videos: Annotated[
        list[str],
        typer.Argument(metavar="VIDEO", help="Video files, folders of frames, and folders with videos in them."),
    ],
    store: StoreOption,
    bundle: BundleOption,
    window: Annotated[
        float | None, typer.Option(help="Length of a window in seconds; default: the store's, for a new one 2.")
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(help="Seconds between windows; default: the store's, for a new one a quarter of the window."),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option("--gallery", help="Make windows of a new store as long as recognition with this gallery does."),
    ] = None,
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
    allow_fallback: AllowFallbackOption = False,
    threads: ThreadsOption = None,
    trust_engines: TrustEnginesOption = False,
    ray: RayOption = None,
) -> None:
    """Compute the features of every window of videos, once; what is in the store is skipped.

    It can be interrupted or killed, and goes on from there when it is called again.
    """
    from maclip_runtime.archive import Archive
    from maclip_runtime.archive.archive import window_of_gallery
    from maclip_runtime.archive.store import store_exists

    with Archive.open(
        store, bundle,
        device=device, allow_fallback=allow_fallback, threads=threads_of(ray, threads), trust_engines=trust_engines,
    ) as archive:  # fmt: skip
        if window is None and gallery is not None and not store_exists(store):
            require_gallery(gallery)
            window = window_of_gallery(gallery, archive.encoder)
        with _Bar() as bar, sigterm_raises(), fleet_at(ray, device, threads) as fleet:
            done = archive.index(videos, window_s=window, hop_s=hop, progress=bar, fleet=fleet)
    if as_json:
        failed = {name: error.code for name, error in done.failed.items()}
        print_json({**dataclasses.asdict(dataclasses.replace(done, failed={})), "failed": failed})
    else:
        _print(done)
    for error in done.failed.values():
        raise error


class _Bar:
    """A progress bar with the time that is left, by the bytes of the videos; called with each `Progress`."""

    def __init__(self) -> None:
        console = people()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console, transient=True,
            disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("indexing", total=None)
        self._said: set[int] = set()

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, done: Done) -> None:
        text = f"video {done.number} of {done.videos}, {done.windows:,} windows"
        self._bar.update(self._task, description=text, completed=done.bytes_done, total=max(done.bytes_total, 1.0))
        if self._bar.disable and done.number not in self._said:  # a log instead of a terminal: a line a video
            self._said.add(done.number)
            logging.getLogger("maclip").info("indexing %s (%d of %d)", done.video, done.number, done.videos)


def _print(done: Indexed) -> None:
    out = results()
    names = "video" if len(done.videos) == 1 else "videos"
    out.print(f"Indexed {done.windows:,} windows of {len(done.videos)} {names}.", soft_wrap=True)
    if done.there:
        out.print(f"{len(done.there)} were there already.", soft_wrap=True)
    for name, path in done.copies.items():
        out.print(escape(f"{name} is a copy of {path}, which is there already."), soft_wrap=True)
    if done.windows:
        busy = sum(done.seconds.values())
        stages = ", ".join(f"{stage} {seconds / busy:.0%}" for stage, seconds in done.seconds.items())
        out.print(f"{busy / done.windows * 1e3:.1f} ms a window: {stages}.", style="dim", soft_wrap=True)
