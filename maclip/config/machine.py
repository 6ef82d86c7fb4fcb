"""Configuration of the machine that a training runs on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maclip.config.options import Config, option


@dataclass(frozen=True)
class Machine(Config):
    """Devices, threads, caches and logs of a training. They do not change the result, except for the order of sums.

    `torchrun` overrides `devices` and `nodes`.
    """

    device: str = option("auto", "Device: auto, cpu or cuda.", choices=("auto", "cpu", "cuda"))
    devices: int = option(1, "Processes on each machine, one for each GPU or core.", minimum=1, maximum=1024)
    nodes: int = option(1, "Number of machines; start the command on each, or use torchrun.", minimum=1, maximum=10_000)
    workers: int = option(4, "Threads of a process that decode clips.", minimum=1, maximum=256)
    save_seconds: float = option(
        60.0, "Seconds between checkpoints; each validation also saves one.", minimum=0, maximum=1e9
    )
    tensorboard: bool = option(False, "Also write scalars to RUN/tensorboard.")
    decoder: str = option(
        "pyav", "pyav, or decord for clips of which it returns the same frames.", choices=("pyav", "decord")
    )
    frame_cache: Path | None = option(
        None, "Cache decoded, resized frames in this folder, for later epochs and runs. It may be deleted."
    )
    stem_cache: Path | None = option(None, "Cache stem tokens in this folder, for later runs too; default: RUN/stem.")
    max_broken: float = option(
        0.05, "Largest share of unreadable clips; they are skipped and reported.", minimum=0, maximum=1
    )
