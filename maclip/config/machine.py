"""What a training uses of its machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maclip.config.options import Config, option


@dataclass(frozen=True)
class Machine(Config):
    """The machine's part of a training; it changes nothing that is learnt, but for the order of sums.

    Under `torchrun` it decides `devices` and `nodes`.
    """

    device: str = option("auto", "auto, cpu or cuda.", choices=("auto", "cpu", "cuda"))
    devices: int = option(1, "Processes on each machine that train together, one a GPU.", minimum=1, maximum=1024)
    nodes: int = option(1, "Machines; start the command on each, or use torchrun.", minimum=1, maximum=10_000)
    workers: int = option(2, "Threads that read clips ahead, for each process.", minimum=1, maximum=256)
    save_seconds: float = option(60.0, "Save the state this often, beside each validation.", minimum=0)
    tensorboard: bool = option(False, "Write scalars to RUN/tensorboard too.")
    decoder: str = option(
        "pyav", "pyav, or decord for the clips of which it gives the same frames.", choices=("pyav", "decord")
    )
    frame_cache: Path | None = option(
        None, "Keep decoded, resized frames in this folder, for later epochs and runs. It may be deleted."
    )
    stem_cache: Path | None = option(None, "Keep stem tokens in this folder, for later runs too; else RUN/stem.")
    max_broken: float = option(
        0.05, "Share of clips that may turn out unreadable; they are skipped and named.", minimum=0, maximum=1
    )
