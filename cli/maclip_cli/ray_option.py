"""`--ray`, which several commands of `maclip` and `maclip-run` share."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from maclip_runtime.fleet import Fleet

GPU_DEVICES = ("cuda", "tensorrt", "rtx")

RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        envvar="MACLIP_RAY",
        help="Spread the work over the workers of a Ray cluster: local (this machine), auto (the one that this machine "
        "is part of) or HOST:PORT.",
    ),
]


def fleet_at(ray: str | None, device: str, threads: int | None = None) -> AbstractContextManager[Fleet]:
    """The workers of `--ray`, each with a GPU where `device` is one; without it this process."""
    from maclip_runtime.fleet import open_fleet

    return open_fleet(ray, threads=threads_of(ray, threads) or 1, gpu=device in GPU_DEVICES)


def threads_of(ray: str | None, threads: int | None) -> int | None:
    """The CPU threads of a network: with `--ray` those of a worker, one unless `--threads` says more."""
    return threads if ray is None else threads or 1
