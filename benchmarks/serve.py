"""The API of `maclip-run serve` on a large gallery: 1,000 classes of 5 clips each, random features.

    python -m benchmarks.serve [--bundle DIR] [--smallest] [--json FILE]

What the page asks for, in this process and over a real socket, median and 95th percentile of many runs: pages of
classes and clips, a search, names while somebody types, thumbnails, the state; then a change and its undo, and the time
from a clip being kept to its class being answered.

Predicted before it was measured: pages from memory 5 ms, thumbnails 5 ms (a row of 50 KB is read), names 30 ms (1,000
classes are listed), a change 150 ms (the list is read again), an answer after a new clip 0.5 s (prototypes of 5,000
clips are read and averaged).
"""

from __future__ import annotations

import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import add_bundle, bundle_facts, parse, parser, run
from maclip_runtime import EnrolledClip, Gallery, Recognizer
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.evidence.shots import Still, encode
from maclip_runtime.serve.access import Access
from maclip_runtime.serve.app import build_app
from maclip_runtime.serve.clips import NewClip
from maclip_runtime.serve.server import Address, bind, make_server
from maclip_runtime.serve.state import State
from maclip_runtime.serve.studio import Studio
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json

CLIPS = 5  # of a class


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one request: median and 95th percentile of `runs`."""

    name: str
    p50: float
    p95: float
    runs: int


def main() -> None:
    """Make the gallery, measure, print."""
    made = parser(__doc__)
    add_bundle(made)
    chosen = parse(made)
    classes, runs = (20, 3) if chosen.smallest else (1000, 40)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gallery.db"
        fill(path, Bundle.open(chosen.bundle), classes)
        timings = measure(chosen.bundle, path, classes, runs)
    results_console().print(
        table(
            f"requests of the page, {classes:,} classes of {CLIPS} clips",
            ("request", "p50 ms", "p95 ms", "runs"),
            ((one.name, f"{one.p50:.1f}", f"{one.p95:.1f}", str(one.runs)) for one in timings),
        )
    )
    if chosen.json is not None:
        facts = {"classes": classes, "clips": CLIPS * classes, "bundle": bundle_facts(chosen.bundle)}
        write_json(chosen.json, {**facts, "timings": [asdict(one) for one in timings], "machine": machine_facts()})


def fill(path: Path, bundle: Bundle, classes: int) -> None:
    """A gallery of random clips, each with a thumbnail of the usual size."""
    manifest = bundle.manifest
    rng = np.random.default_rng(0)
    shape = (manifest.frames, manifest.feature_width)
    with Gallery(path, contract=manifest.contract) as gallery:
        for number in range(classes):
            features = rng.normal(size=(CLIPS, *shape)).astype(np.float32)
            clips = [
                EnrolledClip(
                    f"action {number:04}", None, None, one, one, f"{number}-{place}", "made.mp4", 2.0, {"motion": 9.0},
                    encode(rng.integers(0, 255, (64, 512, 3), np.uint8), 512),
                )
                for place, one in enumerate(features)
            ]  # fmt: skip
            gallery.add(clips, features, bundle.graph_digest("prototype"))


def measure(bundle: Path, gallery: Path, classes: int, runs: int) -> list[Timing]:
    """Serve the gallery and time what the page asks for."""
    address, state = Address("127.0.0.1", 0), State(gallery)
    with (
        bind(address) as listening,
        Recognizer.open(bundle, gallery, device="cpu") as recognizer,
        Studio(recognizer, [], state) as studio,
    ):
        server = make_server(build_app(studio, Access(state, required=False)), address)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/api/"
        while not server.started:
            time.sleep(0.01)
        ids = [member.id for member in recognizer.gallery.members()]
        found = [
            timed("classes, first page", lambda n: get(url + "classes"), runs),
            timed("classes, last page", lambda n: get(f"{url}classes?offset={classes - 10}"), runs),
            timed("classes, search", lambda n: get(f"{url}classes?q={n}"), runs),
            timed("clips of a class", lambda n: get(f"{url}clips?name=action%20{n % classes:04}"), runs),
            timed("a thumbnail", lambda n: get(f"{url}clips/{ids[n * 7 % len(ids)]}/strip.jpg"), runs),
            timed("names while typing", lambda n: get(f"{url}names?q=action%200{n % 10}"), runs),
            timed("state", lambda n: get(url + "state"), runs),
            timed("rename, list, undo", lambda n: rename(url, n % classes), max(3, runs // 4)),
            timed("kept to answered", lambda n: taught(studio, n), max(2, runs // 8)),
        ]
        server.should_exit = server.force_exit = True
        thread.join(5)
    return found


def timed(name: str, call: Callable[[int], Any], runs: int) -> Timing:
    """Time a call; the first one warms up."""
    call(0)
    times = []
    for number in range(1, runs + 1):
        begun = time.perf_counter()
        call(number)
        times.append(1000 * (time.perf_counter() - begun))
    return Timing(name, round(float(np.percentile(times, 50)), 2), round(float(np.percentile(times, 95)), 2), runs)


def get(address: str, body: bytes | None = None) -> bytes:
    """The answer to a GET, or to a POST of JSON."""
    request = urllib.request.Request(address, body, {"content-type": "application/json"} if body else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        data: bytes = answer.read()
        return data


def rename(url: str, number: int) -> None:
    """A change as the page makes it, the list after it, and its undo."""
    get(url + "classes/rename", f'{{"old": "action {number:04}", "new": "renamed"}}'.encode())
    get(url + "classes?q=renamed")
    get(url + "undo", b"{}")


def taught(studio: Studio, number: int) -> None:
    """Keep a clip and answer a window by the gallery with it."""
    rng = np.random.default_rng(number)
    stills = [Still(at / 8, encode(rng.integers(0, 255, (240, 320, 3), np.uint8), 320)) for at in range(16)]
    clip = NewClip.of(f"take {number}", stills, 2.0, None, studio.recognizer.bundle.manifest)
    studio.teaching.enroll(f"new {number}", [clip], no_text=True, force=True)
    studio.measure(studio.recognizer.encoder.features(clip.frames[None]))


if __name__ == "__main__":
    run(main)
