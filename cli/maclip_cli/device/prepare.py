"""What `maclip-run build` does for engines that compile in seconds: time them, and keep what OpenVINO compiles."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from maclip_cli.console import print_json, results
from maclip_cli.waiting import doing

if TYPE_CHECKING:
    from maclip_runtime.bundle.opening import Bundle
    from maclip_runtime.engines.choice import Timing


def prepare(bundle: Bundle, device: str, cache: Path | None, as_json: bool) -> None:
    """Time the engines for "auto" and print what it chooses; then compile the graphs where OpenVINO runs them.

    cache: where results are kept; None: the user's cache.
    """
    from maclip_runtime.engines.base import is_openvino
    from maclip_runtime.engines.cache import CACHE_VARIABLE
    from maclip_runtime.engines.choice import choose
    from maclip_runtime.engines.timing import measure

    if cache is not None:
        os.environ[CACHE_VARIABLE] = str(cache)  # which engines and choices read
    timings: tuple[Timing, ...] = ()
    if device == "auto":
        with doing("timing engines") as note:
            timings = measure(bundle, note=note)
        choice = choose(bundle)
        device = choice.device
        if as_json:
            for one in timings:
                print_json({**dataclasses.asdict(one), "chosen": one is timings[0]})
        else:
            print_timings(timings)
            results().print(escape(f"auto chooses {device}: {choice.why}."), soft_wrap=True)
    if is_openvino(device):
        _compile(bundle, device, timings, as_json)


def print_timings(timings: tuple[Timing, ...]) -> None:
    """A table of what each engine took, the fastest first."""
    from maclip_runtime.bundle.figures import in_ms

    if not timings:
        return
    table = Table("device", "int8 form", "ms a step", title="timed on this machine", title_justify="left")
    for one in timings:
        table.add_row(escape(one.device), escape(one.form or "-"), in_ms(one.step_ms))
    results().print(table)


def _compile(bundle: Bundle, device: str, timings: tuple[Timing, ...], as_json: bool) -> None:
    from maclip_runtime.engines.forms import in_best_form
    from maclip_runtime.engines.openvino import OpenVinoEngine

    engine = OpenVinoEngine(in_best_form(bundle, device, timings), device)
    table = Table("graph", "", "seconds")
    for graph in bundle.manifest.graphs:
        begun = time.monotonic()
        origin = engine.load(graph)
        seconds = time.monotonic() - begun
        table.add_row(escape(graph), origin, f"{seconds:.2f}")
        if as_json:
            print_json({"graph": graph, "device": device, "origin": origin, "seconds": round(seconds, 3)})
    engine.close()
    if not as_json:
        results().print(table)
