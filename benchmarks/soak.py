"""A soak: does recognition grow? Four videos are watched at full speed while the gallery is changed, for minutes.

    python -m benchmarks.soak [--minutes 10] [--bundle demo/bundle] [--smallest] [--json FILE] [--figure FILE]

One process watches four drawn videos together, again and again, so that sources are opened and closed all the time; a
second thread enrolls a clip, renames its class and removes it, so that the gallery's index is made anew all the time.
Each second resident memory, threads and open files are noted. After a warm-up of a fifth of the time (half a minute at
most) memory must be flat within 5 %, and threads and files within what one more source takes: else the exit code is 1
(not with --smallest, which is all warm-up).

"Growth" is the median of the last quarter over that of the first. At full speed ten minutes are hours of a camera.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.command import add_bundle, bundle_facts, parse, parser, run
from maclip_runtime import Callbacks, Frame, Recognizer
from maclip_runtime.decisions import Verdict
from maclip_runtime.tools.bench.drawn import draw_video
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.memory import resident_mib
from maclip_runtime.tools.measuring.output import results_console, table, write_json

SOURCES, VIDEO_SECONDS, CLIP_SECONDS = 4, 10.0, 2.0
WINDOW_S, HOP_S = 2.0, 0.5
FLAT = 0.05  # of the memory after the warm-up
SLACK = 8  # threads and files by which two moments may differ: a decoder has some of each
WARM_UP_SHARE, MAX_WARM_UP_S = 0.2, 30.0
CHANGE_S = 0.5  # between two changes of the gallery
SAMPLE_S = 1.0  # between two samples
SMALLEST_SECONDS = 3.0


@dataclass(frozen=True)
class Sample:
    """One moment: seconds since the beginning, MiB resident, threads, open files, windows and changes so far."""

    time_s: float
    memory_mib: float
    threads: int
    files: int
    windows: int
    changes: int


@dataclass(frozen=True)
class Verdicts:
    """Growth from the first quarter after the warm-up to the last: of memory as a share, of the others in number."""

    memory: float
    threads: float
    files: float
    flat: bool


class Counter(Callbacks):
    """Counts what passes, and says when it is enough."""

    def __init__(self, until: float) -> None:
        self.windows = self.frames = 0
        self.until = until

    def frame(self, source: str, frame: Frame) -> None:
        """One frame more."""
        self.frames += 1

    def verdict(self, source: str, verdict: Verdict, start_s: float, end_s: float) -> None:
        """One window more."""
        self.windows += 1
        if time.monotonic() > self.until:
            raise Over


class Over(BaseException):
    """The time is over. No `Exception`: of callbacks those are caught."""


def main() -> int:
    """Soak, print a table, write what was asked for; exit code 1 where something grows."""
    options = parser(__doc__, figure="memory over time")
    options.add_argument("--minutes", type=float, default=10.0)
    add_bundle(options)
    chosen = parse(options)
    machine = machine_facts()
    seconds = SMALLEST_SECONDS if chosen.smallest else chosen.minutes * 60
    with tempfile.TemporaryDirectory(prefix="maclip-soak-") as folder:
        samples, frames = soak(chosen.bundle, Path(folder), seconds)
    verdicts = judge(samples)
    show(samples, frames, verdicts)
    if chosen.json:
        content = {"machine": machine, "bundle": bundle_facts(chosen.bundle), "minutes": seconds / 60}
        content |= {"sources": SOURCES, "frames": frames, **asdict(verdicts)}
        write_json(chosen.json, {**content, "samples": [asdict(sample) for sample in samples]})
    if chosen.figure:
        draw(samples, verdicts, chosen.figure)
    return 0 if verdicts.flat or chosen.smallest else 1


def soak(bundle: Path, place: Path, seconds: float) -> tuple[list[Sample], int]:
    """Watch and change for so many seconds, files in `place`: a sample each second, and how many frames passed."""
    videos = [draw_video(place / f"source{n}.mp4", VIDEO_SECONDS, n) for n in range(SOURCES)]
    clips = [draw_video(place / f"clip{n}.mp4", CLIP_SECONDS, SOURCES + n) for n in range(3)]
    samples: list[Sample] = []
    with Recognizer.open(bundle, place / "gallery.db") as recognizer:
        for number, clip in enumerate(clips[:2]):
            recognizer.enroll(f"class {number}", clip, no_text=True, force=True)
        counter = Counter(time.monotonic() + seconds)
        stop, changes = threading.Event(), [0]
        failed: list[BaseException] = []
        workers = [
            threading.Thread(target=_guarded, args=(failed, stop, _change, recognizer, clips[2], changes, stop)),
            threading.Thread(target=_guarded, args=(failed, stop, _sample, samples, counter, changes, stop)),
        ]
        for worker in workers:
            worker.start()
        try:
            while not stop.is_set():
                for _ in recognizer.watch(list(map(str, videos)), window_s=WINDOW_S, hop_s=HOP_S, callbacks=[counter]):
                    pass
        except Over:
            pass
        finally:
            stop.set()
            for worker in workers:
                worker.join()
        if failed:
            raise failed[0]
    return samples, counter.frames


def judge(samples: Sequence[Sample], *, warm_up_s: float | None = None) -> Verdicts:
    """What grew after the warm-up; default: a fifth of the time, at most half a minute."""
    warm = min(MAX_WARM_UP_S, WARM_UP_SHARE * samples[-1].time_s) if warm_up_s is None else warm_up_s
    counted = [sample for sample in samples if sample.time_s >= warm]
    quarter = max(1, len(counted) // 4)

    def medians(name: str) -> tuple[float, float]:
        values = [float(getattr(sample, name)) for sample in counted]
        return statistics.median(values[:quarter]), statistics.median(values[-quarter:])

    memory, threads, files = (medians(name) for name in ("memory_mib", "threads", "files"))
    grown = memory[1] / memory[0] - 1
    more = threads[1] - threads[0], files[1] - files[0]
    return Verdicts(grown, *more, flat=grown <= FLAT and all(one <= SLACK for one in more))


def show(samples: Sequence[Sample], frames: int, verdicts: Verdicts) -> None:
    """A table of ten moments, and what it comes to."""
    moments = [*samples[:: max(1, len(samples) // 10)], samples[-1]]
    rows = [
        (
            *(f"{moment.time_s:.0f}", f"{moment.memory_mib:.1f}"),
            *(f"{value:,}" for value in (moment.threads, moment.files, moment.windows, moment.changes)),
        )
        for moment in moments
    ]
    headings = ("seconds", "MiB", "threads", "files", "windows", "changes")
    title = f"{SOURCES} sources at full speed, the gallery being changed"
    console = results_console()
    console.print(table(title, headings, rows, text_columns=0))
    hours = frames / 30 / 3600
    console.print(
        f"{frames:,} frames, {hours:.2f} hours of video; growth: memory {verdicts.memory:+.1%}, threads "
        f"{verdicts.threads:+.0f}, files {verdicts.files:+.0f}: {'flat' if verdicts.flat else 'it grows'}"
    )


def draw(samples: Sequence[Sample], verdicts: Verdicts, path: Path, *, warm_up_s: float | None = None) -> None:
    """Memory over time, and the band that is flat. warm_up_s: as for `judge`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 3.6), layout="constrained")
    warm = min(MAX_WARM_UP_S, WARM_UP_SHARE * samples[-1].time_s) if warm_up_s is None else warm_up_s
    level = statistics.median(sample.memory_mib for sample in samples if sample.time_s >= warm)
    axes.axhspan(level * (1 - FLAT), level * (1 + FLAT), color="#d5d8dd", label="5 % either way")
    axes.axvline(warm, color="#8a8f98", linewidth=0.8, linestyle=(0, (3, 3)), label="warm-up")
    axes.plot([sample.time_s for sample in samples], [sample.memory_mib for sample in samples], color="#2f6fb7")
    axes.set_ylim(0, 1.3 * max(sample.memory_mib for sample in samples))
    axes.set_xlabel("seconds")
    axes.set_ylabel("MiB resident")
    axes.set_title(
        f"{samples[-1].windows:,} windows of {SOURCES} sources, {samples[-1].changes:,} changes of the gallery: memory "
        f"{verdicts.memory:+.1%}",
        loc="left",
        fontsize=10,
    )
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _change(recognizer: Recognizer, clip: Path, changes: list[int], stop: threading.Event) -> None:
    while not stop.wait(CHANGE_S):
        recognizer.enroll("guest", clip, no_text=True, force=True)
        recognizer.rename("guest", "guest of honour")
        recognizer.remove("guest of honour")
        changes[0] += 3


def _sample(samples: list[Sample], counter: Counter, changes: list[int], stop: threading.Event) -> None:
    begun = time.monotonic()
    while True:
        samples.append(
            Sample(
                round(time.monotonic() - begun, 2),
                resident_mib() or 0.0,
                len(list(Path("/proc/self/task").iterdir())),
                len(list(Path("/proc/self/fd").iterdir())),
                counter.windows,
                changes[0],
            )
        )
        if stop.wait(SAMPLE_S):
            return


def _guarded(failed: list[BaseException], stop: threading.Event, work: Any, *values: Any) -> None:
    try:
        work(*values)
    except BaseException as error:
        failed.append(error)
        stop.set()


if __name__ == "__main__":
    run(main)
