"""What 1, 100 and 10,000 cameras cost, by the measured times of one step, and a simulation of dispatch.

    python -m benchmarks.scale [--seed N] [--smallest] [--json FILE]

Measured, and read from benchmarks/results: the stages of a step of ViT-B/16 on one core (streaming_pairs_one_thread),
decoding (device_vit_b16_int8), bytes a window in a store and the time of a search (archive). Assumed: `Assumed`.

The simulation: a camera moves or rests, in turns of random length. While it moves, a step is due each hop. Steps wait
for one of the cores, first come, first served; a step that still waits when its camera's next one is due is dropped
for it, as a live source drops frames. How long a step takes is drawn from a log-normal distribution with the measured
median and ninth decile. As many cores as needed are those with which 99 % of the answers come within a second and at
most 1 % of the steps are dropped. Decoding and preparing, which rest never, are added to them.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.command import parse, parser, run
from maclip_runtime.tools.measuring.machine import ROOT, machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json

RESULTS = ROOT / "benchmarks" / "results"
RUNNER = ("maclip-run, OpenVINO", "int8 static")  # the fastest pair of streaming_pairs_one_thread
Z_90 = 1.2816  # standard deviations below which nine of ten lie
DAY_S = 86_400


@dataclass(frozen=True)
class Assumed:
    """What is not measured.

    Attributes:
        hop_s: seconds between a camera's steps.
        moving_share, moving_s: of the time in the busiest hour in which a camera's picture moves, and how long at once.
        late_s, dropped_share: 99 % of the answers come within `late_s`; so many steps may be dropped.
        stream_mbit_s: a camera's video, H.264, 640 x 480 at 30 frames a second.
        kept_days: how long recordings and the store are kept.
        cores, network_gbit_s, disk_tb: of one server; a network and a core are planned to be busy at most `busy_share`.
        gpu_steps_s: steps a second of one GPU.
    """

    hop_s: float = 0.5
    moving_share: float = 0.4
    moving_s: float = 8.0
    late_s: float = 1.0
    dropped_share: float = 0.01
    stream_mbit_s: float = 2.0
    kept_days: int = 30
    cores: int = 16
    network_gbit_s: float = 1.0
    disk_tb: float = 16.0
    busy_share: float = 0.7
    gpu_steps_s: float = 1000.0


@dataclass(frozen=True)
class Measured:
    """Of ViT-B/16, T = 8, the last 4 blocks adapted; milliseconds of one core.

    Attributes:
        network_ms, network_p90_ms: a step's stem, tower and match; the median and the ninth decile.
        always_ms: decoding and preparing for a step.
        window_bytes: in a store.
        search_s: of one search in `search_windows`, on two cores.
    """

    network_ms: float
    network_p90_ms: float
    always_ms: float
    window_bytes: float
    search_s: float
    search_windows: int


@dataclass(frozen=True)
class Size:
    """For which numbers of cameras, and how many seconds are simulated."""

    cameras: tuple[int, ...] = (1, 100, 10_000)
    seconds: float = 60.0


SMALLEST = Size(cameras=(1, 20), seconds=10.0)


@dataclass(frozen=True)
class Dispatched:
    """How a simulation went: delays of answers in seconds, the shares of dropped steps and of busy cores."""

    median_s: float
    p99_s: float
    dropped_share: float
    busy_share: float


def main() -> None:
    """Compute, print tables, and write JSON where asked to."""
    options = parser(__doc__)
    options.add_argument("--seed", type=int, default=20, help="of the simulation; the same one gives the same figures")
    chosen = parse(options)
    machine, size = machine_facts(), SMALLEST if chosen.smallest else Size()
    assumed, measured = Assumed(), read_measured()
    rows = [row_of(cameras, measured, assumed, size.seconds, chosen.seed) for cameras in size.cameras]
    facts = {"seed": chosen.seed, "assumed": asdict(assumed), "measured": asdict(measured), "rows": rows}
    show(facts)
    if chosen.json:
        write_json(chosen.json, {"machine": machine, "size": asdict(size), **facts})


def read_measured() -> Measured:
    """The figures of the committed results."""
    pairs, device, archive = (
        json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("streaming_pairs_one_thread", "device_vit_b16_int8", "archive")
    )
    (step,) = (row for row in pairs["rows"] if (row["runner"], row["precision"]) == RUNNER)
    prepare_ms = step["stages_ms"]["prepare"]
    found = archive["find"]
    return Measured(
        network_ms=step["p50_ms"] - prepare_ms,
        network_p90_ms=step["p90_ms"] - prepare_ms,
        always_ms=prepare_ms + device["streaming"]["stages"]["decode"]["p50"],
        window_bytes=found["bytes_a_window"],
        search_s=found["seconds"]["all"],
        search_windows=found["windows"],
    )


def row_of(cameras: int, measured: Measured, assumed: Assumed, seconds: float, seed: int) -> dict[str, Any]:
    """What so many cameras cost, and what runs out first."""
    always = cameras * measured.always_ms / 1e3 / assumed.hop_s
    pooled, dispatched = cores_needed(cameras, measured, assumed, seconds, seed)
    here = min(cameras, cameras_of(assumed.cores, measured, assumed, seconds, seed))
    pinned = assumed.cores * math.ceil(cameras / here)
    windows = cameras * DAY_S / assumed.hop_s
    store_gb = windows * measured.window_bytes / 1e9
    video_gb = cameras * assumed.stream_mbit_s * DAY_S / 8e3
    steps_s = cameras * assumed.moving_share / assumed.hop_s
    by = {
        "cores": (always / assumed.busy_share + pooled) / assumed.cores,
        "network": cameras * assumed.stream_mbit_s / 1e3 / (assumed.network_gbit_s * assumed.busy_share),
        "disk, store": store_gb * assumed.kept_days / 1e3 / assumed.disk_tb,
        "disk, recordings": video_gb * assumed.kept_days / 1e3 / assumed.disk_tb,
    }
    return {
        "cameras": cameras,
        "always_cores": always,
        "pooled_cores": pooled,
        "cameras_a_server": here,
        "pinned_cores": pinned,
        "dispatched": asdict(dispatched),
        "steps_s": steps_s,
        "gpus": steps_s / (assumed.gpu_steps_s * assumed.busy_share),
        "network_mbit_s": cameras * assumed.stream_mbit_s,
        "store_gb_a_day": store_gb,
        "recordings_gb_a_day": video_gb,
        "search_of_a_day_s": windows / measured.search_windows * measured.search_s,
        "servers_by": by,
        "bottleneck": max(by, key=lambda one: by[one]),
    }


def cores_needed(
    cameras: int, measured: Measured, assumed: Assumed, seconds: float, seed: int
) -> tuple[int, Dispatched]:
    """The fewest cores of one pool with which answers come in time, and how they come then."""
    low = 0
    high = 1
    while not in_time(last := simulate(cameras, high, measured, assumed, seconds, seed), assumed):
        low, high = high, 2 * high
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        tried = simulate(cameras, middle, measured, assumed, seconds, seed)
        if in_time(tried, assumed):
            high, last = middle, tried
        else:
            low = middle
    return high, last


def cameras_of(cores: int, measured: Measured, assumed: Assumed, seconds: float, seed: int) -> int:
    """How many cameras a server of so many cores serves in time, where each camera stays on its server."""
    low, high = 0, 64 * cores
    while high - low > 1:
        middle = (low + high) // 2
        left = cores - middle * measured.always_ms / 1e3 / assumed.hop_s / assumed.busy_share
        fits = left >= 1 and in_time(simulate(middle, int(left), measured, assumed, seconds, seed), assumed)
        low, high = (middle, high) if fits else (low, middle)
    return max(1, low)


def in_time(done: Dispatched, assumed: Assumed) -> bool:
    """Whether answers come in time."""
    return done.p99_s <= assumed.late_s and done.dropped_share <= assumed.dropped_share


def simulate(cameras: int, cores: int, measured: Measured, assumed: Assumed, seconds: float, seed: int) -> Dispatched:
    """Dispatch the steps of cameras to cores."""
    rng = np.random.default_rng(seed)
    due = due_steps(rng, cameras, assumed, seconds)
    sigma = math.log(measured.network_p90_ms / measured.network_ms) / Z_90
    takes = iter((rng.lognormal(math.log(measured.network_ms / 1e3), sigma, len(due) + 1)).tolist())
    free = [0.0] * cores
    waiting: OrderedDict[int, float] = OrderedDict()
    delays: list[float] = []
    dropped = 0
    busy = 0.0

    def work_until(now: float) -> None:
        nonlocal busy
        while waiting and free[0] <= now:
            _, asked = waiting.popitem(last=False)
            took = next(takes)
            ends = max(free[0], asked) + took
            heapq.heapreplace(free, ends)
            delays.append(ends - asked)
            busy += took

    for time_s, camera in due:
        work_until(time_s)
        dropped += camera in waiting
        waiting[camera] = time_s  # a newer step takes the place of the one that waits
    work_until(math.inf)
    delay = np.array(delays or [0.0])
    return Dispatched(
        float(np.median(delay)), float(np.quantile(delay, 0.99)), dropped / max(1, len(due)),
        busy / (cores * max(seconds, max(free))),
    )  # fmt: skip


def due_steps(rng: np.random.Generator, cameras: int, assumed: Assumed, seconds: float) -> list[tuple[float, int]]:
    """When a step of which camera is due, in order of time."""
    steps = round(seconds / assumed.hop_s)
    ends = assumed.hop_s / assumed.moving_s  # of moving, a step
    begins = ends * assumed.moving_share / (1 - assumed.moving_share)
    moving = rng.random(cameras) < assumed.moving_share
    phase = rng.random(cameras) * assumed.hop_s
    times, who = [], []
    for step in range(steps):
        here = np.flatnonzero(moving)
        times.append(phase[here] + step * assumed.hop_s)
        who.append(here)
        turns = rng.random(cameras) < np.where(moving, ends, begins)
        moving = moving ^ turns
    every, cameras_of_steps = np.concatenate(times), np.concatenate(who)
    order = np.argsort(every, kind="stable")
    return list(zip(every[order].tolist(), cameras_of_steps[order].tolist(), strict=True))


def lines(facts: dict[str, Any]) -> list[tuple[str, ...]]:
    """A line of the table for each thing that cameras need, with a column for each number of cameras."""
    rows = facts["rows"]
    dispatched = [row["dispatched"] for row in rows]
    servers = [row["servers_by"] for row in rows]
    shown: dict[str, list[str]] = {
        "steps a second": [_number(row["steps_s"]) for row in rows],
        "cores that decode and prepare": [_number(row["always_cores"]) for row in rows],
        "cores for the network, one pool": [f"{row['pooled_cores']:,}" for row in rows],
        "delay of an answer, median and 99 %": [f"{one['median_s']:.2f} s, {one['p99_s']:.2f} s" for one in dispatched],
        "steps dropped; cores busy": [
            f"{100 * one['dropped_share']:.1f} %; {100 * one['busy_share']:.0f} %" for one in dispatched
        ],
        "cores, each camera kept on a server of 16": [f"{row['pinned_cores']:,}" for row in rows],
        "GPUs instead (assumed: 1,000 steps a second)": [_number(row["gpus"]) for row in rows],
        "network, video to the servers": [f"{_number(row['network_mbit_s'])} Mbit/s" for row in rows],
        "store a day": [f"{_number(row['store_gb_a_day'])} GB" for row in rows],
        "recordings a day": [f"{_number(row['recordings_gb_a_day'])} GB" for row in rows],
        "a search of one day, 2 cores": [f"{_number(row['search_of_a_day_s'])} s" for row in rows],
        **{f"servers, by {key}": [_number(one[key]) for one in servers] for key in servers[0]},
        "what runs out first": [row["bottleneck"] for row in rows],
    }
    return [(what, *values) for what, values in shown.items()]


def show(facts: dict[str, Any]) -> None:
    """The table, a column for each number of cameras."""
    heads = [f"{row['cameras']:,} camera{'s' * (row['cameras'] > 1)}" for row in facts["rows"]]
    results_console().print(table("what cameras cost, in the busiest hour", ("", *heads), lines(facts)))


def _number(value: float) -> str:
    """Two digits, or whole."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


if __name__ == "__main__":
    run(main)
