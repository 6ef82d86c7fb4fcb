"""A step on the box beside the network, while a Triton server runs the model: `--device triton:grpc://...`.

    python -m benchmarks.remote [--bundle DIR] [--smallest] [--json FILE]

A real Triton, that of the wheel `nvidia-pytriton`, serves a bundle on this machine; by default one with the shapes of
ViT-B (8 frames of 224 px, 1.2 MB a window) whose graphs compute next to nothing, because only what is around them is
measured. Frames of 640 x 480 are pushed into a stream with a window of 2 s and a hop of a quarter, against 20 classes.
A step is the push of the frame that completes a window. From it is taken the time in which the box only waits for the
answer: what remains is preparing, sending (the copy into a request), matching and deciding. Its processor time is that
of all threads of the process, gRPC's included. The networks are a proxy's: its speed and its delay are added to
loopback's. The machine's own engine on the same bundle stands beside it: the same step with nothing sent.

Predicted before it was measured: a step without waiting 4 ms (one frame prepared 2 ms, 1.2 MB copied three times 0.6
ms, matching and deciding 0.5 ms), processor time 6 ms; waiting 4 ms on loopback and 105 ms at 100 Mbit/s.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import parse, parser, run
from benchmarks.flat_model import write_flat_bundle
from benchmarks.slow_network import slow_network
from benchmarks.triton_server import TritonServer
from maclip_export.targets.triton import write_repository
from maclip_runtime import Recognizer
from maclip_runtime.engines.remote.client import RemoteClient
from maclip_runtime.engines.remote.engine import RemoteEngine
from maclip_runtime.reading.frames import Pixels
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json
from maclip_runtime.tools.measuring.spread import Times

WINDOW_S = 2.0
SHOWN = (480, 640)
AIM_MS = 10.0


@dataclass(frozen=True)
class Size:
    """How much is measured: steps of each network, classes, and frames of how many pixels the model takes."""

    steps: int = 60
    classes: int = 20
    side: int = 224
    width: int = 512


@dataclass(frozen=True)
class Link:
    """A network: bytes a second from the box (None: loopback's), and seconds before each piece of an answer."""

    name: str
    bytes_a_second: float | None = None
    delay_s: float = 0.0


LINKS = (Link("loopback"), Link("1 Gbit/s, 1 ms", 125e6, 0.001), Link("100 Mbit/s, 5 ms", 12.5e6, 0.005))
SMALLEST, SMALLEST_LINKS = Size(steps=4, classes=3, side=32, width=12), LINKS[:1]


def main() -> None:
    """Serve, measure, print a table, and write JSON where asked to."""
    options = parser(__doc__)
    options.add_argument("--bundle", type=Path, help="default: one with ViT-B's shapes that computes next to nothing")
    chosen = parse(options)
    size, links = (SMALLEST, SMALLEST_LINKS) if chosen.smallest else (Size(), LINKS)
    machine = machine_facts()
    with tempfile.TemporaryDirectory() as folder:
        bundle = chosen.bundle or write_flat_bundle(Path(folder) / "bundle", size=size.side, width=size.width)
        write_repository(bundle, Path(folder) / "models")
        rows = [measured("own engine", bundle, Path(folder), "cpu", size)]
        with TritonServer(Path(folder) / "models", graphs=["visual", "tower"]) as server:
            for link in links:
                with server_behind(link, server) as device:
                    rows.append(measured(link.name, bundle, Path(folder), f"{device}?timeout=10", size))
    results_console().print(
        table(
            f"a step on the box, {size.classes} classes, milliseconds (aim: {AIM_MS:g} beside the network)",
            ("network", "beside it, p50", "p90", "processor", "waiting, p50", "whole step, p50", "MB a step"),
            ([row["network"], *(f"{row[key]['p50']:.1f}" for key in ("box",)), f"{row['box']['p90']:.1f}",
              f"{row['processor_ms']:.1f}", f"{row['waiting']['p50']:.1f}", f"{row['step']['p50']:.1f}",
              f"{row['bytes_a_step'] / 1e6:.2f}"] for row in rows),
        )
    )  # fmt: skip
    if chosen.json:
        write_json(chosen.json, {"machine": machine, "size": asdict(size), "aim_ms": AIM_MS, "rows": rows})


@contextmanager
def server_behind(link: Link, server: TritonServer) -> Iterator[str]:
    """The --device value of the server behind a network."""
    if link.bytes_a_second is None:
        yield server.device
        return
    with slow_network(server.port, link.bytes_a_second, link.delay_s) as device:
        yield device


def measured(network: str, bundle: Path, folder: Path, device: str, size: Size) -> dict[str, Any]:
    """The times of the steps of one stream. Raises what the server raises."""
    gallery = folder / f"{network.split()[0]}-{time.monotonic_ns()}.db"
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 256, (64, *SHOWN, 3), dtype=np.uint8)
    whole: list[float] = []
    beside: list[float] = []
    waited: list[float] = []
    processor: list[float] = []
    with Recognizer.open(bundle, gallery, device=device, threads=1) as recognizer, waiting() as waits:
        for number in range(size.classes):
            recognizer.enroll_frames(f"class {number}", _clip(rng), duration_s=WINDOW_S, no_text=True, force=True)
        frames = recognizer.bundle.manifest.frames
        spacing_s, hop = WINDOW_S / frames, max(1, round(frames / 4))
        with recognizer.stream(window_s=WINDOW_S) as stream:
            for number in range(frames + hop * (size.steps + 2)):
                waits.clear()
                begun, used = time.perf_counter(), time.process_time()
                stream.push(shown[number % len(shown)], number * spacing_s)
                took, used = time.perf_counter() - begun, time.process_time() - used
                if recognizer.encoder.keeps_pixels and not waits:
                    continue
                if not recognizer.encoder.keeps_pixels and (number < frames or (number - frames) % hop):
                    continue
                whole.append(took)
                waited.append(sum(waits))
                beside.append(took - sum(waits))
                processor.append(used)
        engine = recognizer.encoder.engine
        away = isinstance(engine, RemoteEngine) and engine.is_away
        manifest = recognizer.bundle.manifest
        sent = manifest.frames * manifest.preprocess.size**2 * 3 if isinstance(engine, RemoteEngine) else 0
    assert not away, "the server went away while it was measured"
    skipped = slice(2, None)  # the first steps load and connect
    return {
        "network": network,
        "step": asdict(Times.of(whole[skipped])),
        "waiting": asdict(Times.of(waited[skipped])),
        "box": asdict(Times.of(beside[skipped])),
        "processor_ms": round(float(np.median(processor[skipped])) * 1e3, 4),
        "bytes_a_step": sent,
    }


@contextmanager
def waiting() -> Iterator[list[float]]:
    """Within it, the list holds the seconds that each answer was waited for."""
    seconds: list[float] = []
    finish = RemoteClient.finish

    def timed(self: RemoteClient, *rest: Any) -> Any:
        begun = time.perf_counter()
        rest[-1].exception()  # the answer is here; reading it is the box's work
        seconds.append(time.perf_counter() - begun)
        return finish(self, *rest)

    RemoteClient.finish = timed  # type: ignore[method-assign,assignment]
    try:
        yield seconds
    finally:
        RemoteClient.finish = finish  # type: ignore[method-assign]


def _clip(rng: np.random.Generator) -> Pixels:
    drawn: Pixels = rng.integers(0, 256, (16, *SHOWN, 3), dtype=np.uint8)
    return drawn


if __name__ == "__main__":
    run(main)
