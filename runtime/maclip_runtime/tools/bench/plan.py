"""The whole benchmark: what is measured, and in which order."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maclip_runtime.tools.bench.classes import measure_classes
from maclip_runtime.tools.bench.cold import measure_cold_start
from maclip_runtime.tools.bench.drawn import draw_video
from maclip_runtime.tools.bench.result import Bench, Sources, Streaming
from maclip_runtime.tools.bench.stream import stream
from maclip_runtime.tools.measuring.child import run_alone
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.spread import Times

if TYPE_CHECKING:
    from maclip_runtime.engines.choice import Timing

DRAWN = "drawn, 640 x 480, 30 frames/s"  # what was watched, unless it was a video of the user's
WINDOW_S, HOP_S = 2.0, 0.5
DRAWN_SECONDS = 8.0  # of the drawn video, which is watched in a loop
ENROLLED = 3  # classes in the gallery
CLASS_COUNTS = (1, 10, 100, 1_000, 10_000)
SOURCE_COUNTS = (1, 2, 4, 8)
SOURCES_SHARE = 0.5  # growth with sources is measured for this share of `seconds`


@dataclass(frozen=True)
class Plan:
    """What to measure.

    bundle: the bundle's folder.
    device, threads, allow_fallback: as for `open_engine`.
    trust_engines: as for `Bundle.open`.
    source: a video to watch; None (default) for a drawn one.
    seconds: how long the stages of a step are measured.
    cold_starts: how many cold starts are measured.
    classes, sources: at which numbers of classes and of sources growth is measured.
    """

    bundle: Path
    device: str = "auto"
    source: Path | None = None
    seconds: float = 10.0
    threads: int | None = None
    allow_fallback: bool = False
    cold_starts: int = 5
    classes: tuple[int, ...] = CLASS_COUNTS
    sources: tuple[int, ...] = SOURCE_COUNTS
    trust_engines: bool = False

    @property
    def engine(self) -> dict[str, Any]:
        """The engine options of every measuring process."""
        return {
            "device": self.device,
            "threads": self.threads,
            "allow_fallback": self.allow_fallback,
            "trust_engines": self.trust_engines,
        }


def run_bench(
    plan: Plan, command: Callable[[Path, Path], Sequence[str]], note: Callable[[str], None] = lambda text: None
) -> Bench:
    """Measure all of `plan`, one process at a time.

    command: gives the command line that answers for a clip with a gallery, whose cold start is measured.
    note: called with what is being measured.
    Raises what opening the bundle, the device and the source raise, and `bench-failed`.
    """
    from maclip_runtime.bundle.opening import Bundle
    from maclip_runtime.engines.choice import read_timings
    from maclip_runtime.engines.timing import measure
    from maclip_runtime.reading.clip import read_clip
    from maclip_runtime.reading.frames import segment_indices
    from maclip_runtime.recognizer import Recognizer

    machine = machine_facts()  # first: the load before
    with tempfile.TemporaryDirectory(prefix="maclip-bench-") as folder:
        place = Path(folder)
        note("drawing")
        clips = [draw_video(place / f"clip{seed}.mp4", WINDOW_S, seed) for seed in range(ENROLLED)]
        if plan.source is None:
            source = draw_video(place / "source.mp4", DRAWN_SECONDS, ENROLLED)
        else:
            source = plan.source
            read_clip(source, lambda total: segment_indices(total, 1))  # raises here rather than in a child
        engines: tuple[Timing, ...] = ()
        if plan.device == "auto":
            opened_bundle = Bundle.open(plan.bundle, trust_engines=plan.trust_engines)
            engines = read_timings(opened_bundle) or measure(opened_bundle, note=note)
        gallery = place / "gallery.db"
        with Recognizer.open(plan.bundle, gallery, **plan.engine) as recognizer:
            for seed, clip in enumerate(clips):
                recognizer.enroll(f"class {seed}", clip, no_text=True, force=True)
            manifest = recognizer.bundle.manifest
            size = sum(file.size for file in manifest.files.values())
        opened = (str(plan.bundle), str(gallery))

        def watched(count: int, seconds: float) -> dict[str, Any]:
            figures: dict[str, Any] = run_alone(
                stream, *opened, [str(source)] * count, WINDOW_S, HOP_S, seconds, plan.engine
            )
            return figures

        note("a step and its stages")
        figures = watched(1, plan.seconds)
        note("cold start")
        start = command(clips[0], gallery)
        cold = measure_cold_start(start, *opened, str(clips[0]), plan.engine, plan.cold_starts)
        note("growth with sources")
        several = tuple(_sources(count, watched(count, plan.seconds * SOURCES_SHARE)) for count in plan.sources)
        note("growth with classes")
        classes = measure_classes(plan.bundle, plan.classes, plan.engine)
    return Bench(
        machine=machine,
        bundle={
            "backbone": manifest.backbone.name,
            "precision": manifest.precision,
            "forms": list(manifest.form_names),
            "adapted_depth": manifest.adapted_depth,
            "frames": manifest.frames,
            "graphs": sorted(manifest.graphs),
            "contract": manifest.contract,
            "mib": round(size / 2**20, 1),
        },
        settings={
            "source": DRAWN if plan.source is None else plan.source.name,
            "seconds": plan.seconds,
            "threads": plan.threads,
            "window_s": WINDOW_S,
            "hop_s": HOP_S,
            "enrolled_classes": ENROLLED,
        },
        device=figures["device"],
        engines=engines,
        streaming=_streaming(figures),
        cold_start=cold,
        classes=classes,
        sources=several,
    )


def _sources(count: int, figures: dict[str, Any]) -> Sources:
    known = {field.name for field in dataclasses.fields(Sources)}
    return Sources(sources=count, **{key: value for key, value in figures.items() if key in known})


def _streaming(figures: dict[str, Any]) -> Streaming:
    stages = {stage: Times(**times) for stage, times in figures["stages"].items()}
    return Streaming(WINDOW_S, HOP_S, stages, Times(**figures["step"]), figures["beside_network"], _sources(1, figures))
