"""The results of a benchmark: one documented structure, which `--json` writes as it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maclip_runtime.tools.measuring.spread import Times

if TYPE_CHECKING:
    from maclip_runtime.engines.choice import Timing

NETWORK = ("stem", "tower", "visual")  # the stages that are the network; the others must be small beside them
OTHER = "other"  # time of a step that belongs to no stage
STEP_STAGES = ("decode", "prepare", *NETWORK, "match", "decide", OTHER)


@dataclass(frozen=True)
class Sources:
    """Files watched together by one session at full speed.

    frames_per_second, windows_per_second: of all files together, sustained over `seconds`.
    memory_mib, peak_mib: resident memory at the end, and its peak.
    """

    sources: int
    frames_per_second: float
    windows_per_second: float
    seconds: float
    memory_mib: float | None
    peak_mib: float | None


@dataclass(frozen=True)
class Streaming:
    """One file, watched at full speed. A step is what happens between two answers: a hop of video.

    stages: milliseconds of a step in each stage ("other": in none of them).
    step: milliseconds of the whole step.
    beside_network: median share of a step outside the network.
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

    command_s: seconds of each run of `maclip-run recognize --whole-clip`.
    parts_s: the parts of the same work in a bare Python process, in order; medians.
    memory_mib: resident after the first answer.
    """

    command_s: tuple[float, ...]
    parts_s: dict[str, float]
    memory_mib: float | None


@dataclass(frozen=True)
class Classes:
    """One query against `classes` made-up classes of one clip each.

    match: milliseconds of the match graph.
    arrays_mib: the size of prototypes and text features.
    grown_mib: peak growth of a process while it matches, the arrays included.
    first_load_s, load_s: reading such a gallery for the first time, when its limits are measured, and again; None where
      that took longer than `limit_s`.
    file_mib: the size of the gallery's file.
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
    """All results. `device` is the one that really ran; `engines` what "auto" chose from, else nothing."""

    machine: dict[str, Any]
    bundle: dict[str, Any]
    settings: dict[str, Any]
    device: str
    engines: tuple[Timing, ...]
    streaming: Streaming
    cold_start: ColdStart
    classes: tuple[Classes, ...]
    sources: tuple[Sources, ...]
