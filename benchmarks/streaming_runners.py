"""The runners of `benchmarks.streaming`: eager torch on whole windows, `Recognizer.watch` on a source fed by hand."""

from __future__ import annotations

import dataclasses
import queue
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from maclip_runtime.reading.frames import Pixels, prepare
from maclip_runtime.tools.bench.drawn import draw_video
from maclip_runtime.tools.measuring.child import FreshPipe
from maclip_runtime.tools.measuring.memory import resident_mib

FRAMES = 8
SPACING_S = 0.25  # between frames: a window of 2 s, a new one with each frame
HEIGHT, WIDTH = 480, 640  # px
CLASSES = 3
WARM_UPS = 3


@dataclass(frozen=True)
class Model:
    """What is measured: a backbone, its adapters, how many of its blocks they are in, and the bundles by name."""

    backbone: str
    pretrained: str
    adapted_depth: int | None
    bundles: tuple[str, ...]
    adapters: str = "blocks"


PRECISIONS = {"f32": "float32", "f16": "fp16", "i8": "int8"}
FORMS = {"i8-dynamic": "dynamic", "i8-static": "static"}  # copies of i8 with one form each
BUNDLES = ("f32", "i8", "i8-dynamic", "i8-static")
SMALLEST = Model("tiny", "tiny", 1, ("f32",))


@dataclass(frozen=True)
class Turn:
    """One step: milliseconds in all and by stage."""

    total_ms: float
    stages_ms: dict[str, float]


@dataclass(frozen=True)
class Cost:
    """What a clip costs by torch's count: operations (an addition and a multiplication are two), rows and width."""

    flops: int
    rows: int
    width: int


@dataclass(frozen=True)
class Facts:
    """What a runner says when it is ready: the frame features [T, D'] of one clip; eager torch also its cost."""

    features: Any
    cost: Cost | None = None


class Exporting:
    """Writes the bundles when asked to."""

    facts = None

    def __init__(self, folder: Path, model: Model) -> None:
        self._folder, self._chosen = folder, model

    def turn(self, work: str) -> None:
        """Write all of them."""
        from maclip_export.bundle.writer import Material, write_bundle
        from maclip_export.gate.trial import drawn_trial
        from maclip_export.options import ExportOptions

        model = random_model(self._chosen)
        material = Material([], drawn_trial(model, 1, 2), calibration=drawn_trial(model, 1, 2, seed=1))
        for name in self._chosen.bundles:
            if name in FORMS:
                write_form(self._folder / "i8", self._folder / name, FORMS[name])
                continue
            options = ExportOptions(precision=PRECISIONS[name], allow_loss=True, force=True)
            write_bundle(model, self._folder / name, material, options)


def write_form(bundle: Path, out: Path, form: str) -> None:
    """A copy of an int8 bundle with one of its forms."""
    from maclip_runtime.bundle.manifest import MANIFEST_FILE
    from maclip_runtime.bundle.opening import Bundle

    manifest = Bundle.open(bundle).manifest.in_form(form)
    own = {graph.file for graph in manifest.graphs.values()}
    files = {name: spec for name, spec in manifest.files.items() if not name.endswith(".onnx") or name in own}
    out.mkdir(exist_ok=True)
    for name in files:
        shutil.copyfile(bundle / name, out / name)
    (out / MANIFEST_FILE).write_text(dataclasses.replace(manifest, files=files).to_json(), encoding="utf-8")


def start(pipe: FreshPipe, bundle: Path, device: str, threads: int) -> float:
    """Seconds from the start of this process to the features of a first clip."""
    from maclip_runtime import Recognizer

    with tempfile.TemporaryDirectory() as scratch:
        gallery = Path(scratch) / "gallery.db"
        with Recognizer.open(bundle, gallery, device=device, threads=threads) as recognizer:
            recognizer.embed(np.stack(pictures(FRAMES)))
            return time.monotonic() - pipe.begun


class Torch:
    """Eager torch that computes the features of a whole window."""

    def __init__(self, model: Model, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._torch = torch
        self._model = random_model(model)
        frames = [prepare(one, self._model.backbone.preprocess) for one in pictures(FRAMES)]
        self._clip = torch.from_numpy(np.stack(frames)[None])
        self.facts = Facts(self._run()[0], self._cost())
        for _ in range(WARM_UPS):
            self._run()

    def turn(self, work: str) -> Any:
        """One window, or the memory."""
        if work == "memory":
            return resident_mib()
        begun = time.perf_counter()
        self._run()
        return Turn((time.perf_counter() - begun) * 1e3, {})

    def _cost(self) -> Cost:
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.utils.flop_counter import FlopCounterMode

        # As plain products: torch 2.9 does not count those within its attention for CPUs.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            self._run()
        image = self._model.image
        return Cost(int(counter.get_total_flops()), image.rows * FRAMES, image.width)

    def _run(self) -> Any:
        with self._torch.inference_mode():
            return self._model.features(self._clip).numpy()


class Stream:
    """`Recognizer.watch` on a live source that brings a frame when asked to."""

    def __init__(self, bundle: Path, device: str, threads: int) -> None:
        from maclip_runtime import Callbacks, Recognizer
        from maclip_runtime.streaming import opening

        outer = self

        class Clock(Callbacks):
            def timing(self, stage: str, seconds: float) -> None:
                outer._stages[stage] = outer._stages.get(stage, 0.0) + seconds * 1e3

            def verdict(self, *_: Any) -> None:
                outer._done.put(time.perf_counter())

        self._stages: dict[str, float] = {}
        self._done: queue.Queue[float] = queue.Queue()
        self._source = fed_source()
        self._number = 0
        self._scratch = tempfile.TemporaryDirectory()
        self._recognizer = Recognizer.open(
            bundle, Path(self._scratch.name) / "gallery.db", device=device, threads=threads
        )
        for number in range(CLASSES):
            clip = draw_video(Path(self._scratch.name) / f"{number}.mp4", 1.0, number)
            self._recognizer.enroll(f"class {number}", clip, no_text=True, force=True)
        self._clip = np.stack(pictures(FRAMES))
        self.facts = Facts(self._recognizer.embed(self._clip))
        mock.patch.object(opening, "open_source", return_value=self._source).start()
        window_s = FRAMES * SPACING_S
        events = self._recognizer.watch("camera", window_s=window_s, hop_s=SPACING_S, callbacks=[Clock()])
        threading.Thread(target=lambda: list(events), daemon=True).start()
        for _ in range(FRAMES):
            self._feed()
        self._done.get()
        for _ in range(WARM_UPS):
            self.turn("step")

    def turn(self, work: str) -> Any:
        """One step, one clip, or the memory."""
        if work == "memory":
            return resident_mib()
        if work == "clip":
            begun = time.perf_counter()
            self._recognizer.embed(self._clip)
            return Turn((time.perf_counter() - begun) * 1e3, {})
        self._stages.clear()
        begun = self._feed()
        return Turn((self._done.get() - begun) * 1e3, dict(self._stages))

    def _feed(self) -> float:
        """Hand over the next frame, on time at its grid point; when."""
        pixels = picture(self._number)
        begun = time.perf_counter()
        self._source.feed(pixels, (self._number + 0.5) * SPACING_S if self._number else 0.0)
        self._number += 1
        return begun


def fed_source() -> Any:
    """A live source whose frames are handed in."""
    from maclip_runtime.sources import Frame, Source, SourceState, SourceStatus

    class Fed(Source):
        def __init__(self) -> None:
            super().__init__("camera", live=True)
            self._frames: queue.Queue[Frame] = queue.Queue()
            self._given = 0

        def feed(self, pixels: Pixels, time_s: float) -> None:
            self._frames.put(Frame(pixels, time_s, self._given))
            self._given += 1

        def read(self, timeout_s: float | None = None) -> Frame | None:
            try:
                return self._frames.get(timeout=timeout_s)
            except queue.Empty:
                return None

        @property
        def status(self) -> SourceStatus:
            return SourceStatus(self.name, SourceState.RUNNING, 0.0, self._given, 0, 0, 0.0, "")

        def close(self) -> None:
            pass

    return Fed()


def random_model(chosen: Model) -> Any:
    """Every tuned tensor random; the same in every process."""
    import torch

    import maclip

    torch.manual_seed(0)
    model = maclip.build(
        chosen.backbone,
        chosen.pretrained,
        frames=FRAMES,
        adapters=chosen.adapters,
        adapted_depth=chosen.adapted_depth,
    )
    for parameter in model.tuned_parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    # Engines drop norms and biases that are one and zero, which those of a trained CLIP are not.
    for name, parameter in model.clip.visual.named_parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float("ln_" in name and name.endswith("weight")), std=0.02)
    return model.eval()


def picture(number: int) -> Pixels:
    """A frame of smooth colours that move, uint8 [480, 640, 3]."""
    from PIL import Image

    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    shifted = np.roll(coarse, number % 8, axis=1)
    return np.asarray(Image.fromarray(shifted).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def pictures(count: int) -> list[Pixels]:
    """The first frames."""
    return [picture(number) for number in range(count)]
