"""A soak of `maclip-run serve`: does it grow while it is used? Four looped videos, a browser's requests, teaching.

    python -m benchmarks.serve_soak [--minutes 30] [--bundle demo/bundle] [--smallest] [--json FILE] [--figure FILE]

The server watches four drawn videos as cameras. A client does what the page does: it asks for the state and pictures
several times a second, and every few seconds opens the review with its strips, asks why, records a take, keeps it as a
class and undoes that. Each second resident memory, threads and open files are noted. In the first fifth of the time the
last minute of each source and the windows to review fill up to their bounds; after it memory must be flat within 5 %,
and threads and files within what one more source takes: else the exit code is 1 (not with --smallest).

"Growth" is the median of the last quarter over that of the first.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.command import add_bundle, bundle_facts, parse, parser, run
from benchmarks.soak import SAMPLE_S, SMALLEST_SECONDS, Sample, draw, judge
from maclip_runtime import Callbacks, Recognizer, SourceOptions
from maclip_runtime.decisions import Verdict
from maclip_runtime.serve.access import Access
from maclip_runtime.serve.app import build_app
from maclip_runtime.serve.server import Address, bind, make_server
from maclip_runtime.serve.state import State
from maclip_runtime.serve.studio import Studio
from maclip_runtime.tools.bench.drawn import draw_video
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.memory import resident_mib
from maclip_runtime.tools.measuring.output import results_console, table, write_json

SOURCES, VIDEO_SECONDS, CLIP_SECONDS = 4, 10.0, 2.0
WINDOW_S, HOP_S = 2.0, 0.5
LOOK_S = 0.25  # between two looks at the state and a picture
TEACH_EVERY = 40  # looks
TAKE_SECONDS = 2.0
WARM_UP_SHARE = 0.2


class _Counter(Callbacks):
    def __init__(self) -> None:
        self.windows = 0

    def verdict(self, source: str, verdict: Verdict, start_s: float, end_s: float) -> None:
        """One window more."""
        self.windows += 1


class Client:
    """What a browser asks for. `changes` counts takes that were kept, and their undoing."""

    def __init__(self, url: str, names: list[str]) -> None:
        self._url, self._names = url, names
        self.requests = self.changes = 0

    def look(self, number: int) -> None:
        """The state and a picture."""
        self._ask("GET", "state")
        self._ask("GET", f"source/picture?source={self._names[number % len(self._names)]}")

    def teach(self, number: int) -> None:
        """Review, why, and a clip that is taught and forgotten."""
        windows = json.loads(self._ask("GET", "windows"))["items"]
        for one in windows[:4]:
            self._ask("GET", f"windows/{one['id']}/strip.jpg")
        if windows:
            self._ask("GET", f"windows/{windows[0]['id']}/why")
        take = json.loads(
            self._ask(
                "POST", "takes/record", {"source": self._names[number % len(self._names)], "seconds": TAKE_SECONDS}
            )
        )
        self._ask("POST", f"takes/{take['id']}/keep", {"name": "guest", "force": True, "no_text": True})
        self._ask("GET", "classes")
        self._ask("POST", "undo", {})
        self.changes += 2

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"content-type": "application/json"}
        with urllib.request.urlopen(
            urllib.request.Request(self._url + path, data, headers, method=method), timeout=60
        ) as answer:
            self.requests += 1
            found: bytes = answer.read()
            return found


def main() -> int:
    """Soak, print a table, write what was asked for; exit code 1 where something grows."""
    options = parser(__doc__, figure="memory over time")
    options.add_argument("--minutes", type=float, default=30.0)
    add_bundle(options)
    chosen = parse(options)
    machine = machine_facts()
    seconds = SMALLEST_SECONDS if chosen.smallest else chosen.minutes * 60
    with tempfile.TemporaryDirectory(prefix="maclip-serve-soak-") as folder:
        samples, requests = soak(chosen.bundle, Path(folder), seconds, teach_at=1 if chosen.smallest else TEACH_EVERY)
    warm_up_s = WARM_UP_SHARE * samples[-1].time_s
    verdicts = judge(samples, warm_up_s=warm_up_s)
    moments = [*samples[:: max(1, len(samples) // 10)], samples[-1]]
    rows = [
        (
            *(f"{one.time_s:.0f}", f"{one.memory_mib:.1f}"),
            *(f"{number:,}" for number in (one.threads, one.files, one.windows, one.changes)),
        )
        for one in moments
    ]
    console = results_console()
    headings = ("seconds", "MiB", "threads", "files", "windows", "changes")
    console.print(table(f"{SOURCES} sources, a page in use", headings, rows, text_columns=0))
    console.print(
        f"{requests:,} requests; growth: memory {verdicts.memory:+.1%}, threads {verdicts.threads:+.0f}, files "
        f"{verdicts.files:+.0f}: {'flat' if verdicts.flat else 'it grows'}"
    )
    if chosen.json:
        content = {"machine": machine, "bundle": bundle_facts(chosen.bundle), "minutes": round(seconds / 60, 2)}
        content |= {"sources": SOURCES, "requests": requests, **asdict(verdicts)}
        write_json(chosen.json, {**content, "samples": [asdict(one) for one in samples]})
    if chosen.figure:
        draw(samples, verdicts, chosen.figure, warm_up_s=warm_up_s)
    return 0 if verdicts.flat or chosen.smallest else 1


def soak(bundle: Path, place: Path, seconds: float, *, teach_at: int) -> tuple[list[Sample], int]:
    """Serve and use for so many seconds: a sample each second, and how many requests were answered.

    teach_at: looks between two clips that are taught.
    """
    names = [f"camera{number}" for number in range(SOURCES)]
    videos = [draw_video(place / f"{name}.mp4", VIDEO_SECONDS, number) for number, name in enumerate(names)]
    clips = [draw_video(place / f"clip{number}.mp4", CLIP_SECONDS, SOURCES + number) for number in range(2)]
    sources = [(f"loop://{video}", SourceOptions(name=name)) for name, video in zip(names, videos, strict=True)]
    gallery, counter = place / "gallery.db", _Counter()
    samples: list[Sample] = []
    address, state = Address("127.0.0.1", 0), State(gallery)
    with bind(address) as listening, Recognizer.open(bundle, gallery) as recognizer:
        for number, clip in enumerate(clips):
            recognizer.enroll(f"class {number}", clip, no_text=True, force=True)
        with Studio(recognizer, sources, state, window_s=WINDOW_S, hop_s=HOP_S, callbacks=[counter]) as studio:
            server = make_server(build_app(studio, Access(state, required=False)), address)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
            thread.start()
            client = Client(f"http://127.0.0.1:{listening.getsockname()[1]}/api/", names)
            _wait_for_pictures(server, counter)
            begun, looks, due_s = time.monotonic(), 0, 0.0
            while (now := time.monotonic() - begun) < seconds or not samples:
                client.look(looks)
                looks += 1
                if looks % teach_at == 0:
                    client.teach(looks)
                if now >= due_s:
                    samples.append(_sample(now, counter, client))
                    due_s = now + SAMPLE_S
                time.sleep(LOOK_S)
            server.should_exit = server.force_exit = True
            thread.join(5)
    return samples, client.requests


def _wait_for_pictures(server: Any, counter: _Counter) -> None:
    """Until the server answers and the first window was answered."""
    until = time.monotonic() + 60
    while (not server.started or not counter.windows) and time.monotonic() < until:
        time.sleep(0.05)


def _sample(now: float, counter: _Counter, client: Client) -> Sample:
    threads, files = (len(list(Path(f"/proc/self/{name}").iterdir())) for name in ("task", "fd"))
    return Sample(round(now, 2), resident_mib() or 0.0, threads, files, counter.windows, client.changes)


if __name__ == "__main__":
    run(main)
