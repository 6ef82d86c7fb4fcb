"""What a benchmark came to: one documented structure, which `--json` writes as it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maclip_runtime.tools.measuring.spread import Times

NETWORK = ("stem", "tower", "visual")  # the stages that are the network; all else must be small beside them
OTHER = "other"  # what a step takes beyond its stages
STEP_STAGES = ("decode", "prepare", *NETWORK, "match", "decide", OTHER)


@dataclass(frozen=True)
class Sources:
    """Files watched together by one session, as fast as they can be.

    `frames_per_second` of video and `windows_per_second`, of all of them, were sustained over `seconds`. Resident were
    `memory_mib` at the end, `peak_mib` at the most.
    """

    sources: int
    frames_per_second: float
    windows_per_second: float
    seconds: float
    memory_mib: float | None
    peak_mib: float | None


@dataclass(frozen=True)
class Streaming:
    """One file: a step is what happens between two answers, a hop of video.

    `stages` are a step's milliseconds in each stage, summed ("other": in none of them); `step` is all of it.
    `beside_network`: the share of a step outside the network, median.
    """

    window_s: float
    hop_s: float
    stages: dict[str, Times]
    step: Times
    beside_network: float
    sustained: Sources


@dataclass(frozen=True)
class ColdStart:
    """From the start of a process to its first answer on a clip, with the files in the system's cache.

    `command_s`: the whole of `maclip-run recognize --whole-clip`, each time it was run. `parts_s`: the medians of what
    the same work consists of in a bare Python process, in order. `memory_mib` is resident after the first answer.
    """

    command_s: tuple[float, ...]
    parts_s: dict[str, float]
    memory_mib: float | None


@dataclass(frozen=True)
class Classes:
    """One query against `classes` made-up classes of one clip each.

    `match`: the match graph. `arrays_mib`: the prototypes and texts; `grown_mib`: what a process grows by at its peak
    while it matches, the arrays included. `first_load_s` and `load_s`: reading such a gallery for the first time, when
    its limits are measured, and again; None where that took longer than `limit_s`. `file_mib`: the gallery's file.
    """

    classes: int
    match: Times
    arrays_mib: float
    grown_mib: float | None
    first_load_s: float | None
    load_s: float | None
    limit_s: float
    file_mib: float | None


@dataclass(frozen=True)
class Bench:
    """All of it. `machine` and `bundle` say on what, `settings` how; `device` is what really ran."""

    machine: dict[str, Any]
    bundle: dict[str, Any]
    settings: dict[str, Any]
    device: str
    streaming: Streaming
    cold_start: ColdStart
    classes: tuple[Classes, ...]
    sources: tuple[Sources, ...]
