"""What a benchmark runs: the model, the runners that this machine supports, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maclip_runtime.bundle.manifest import Manifest
from maclip_runtime.bundle.opening import Bundle

if TYPE_CHECKING:
    from maclip.model.maclip import MaClip

CLIP, BATCH, STEP = "clip", "batch", "step"  # what a runner is asked for


@dataclass(frozen=True)
class ModelSource:
    """Where the torch model comes from: a run folder, or a backbone by name with untrained adapters.

    adapters: their kind, without a run.
    adapted_depth: with "blocks", K.
    """

    run: Path | None
    backbone: str
    pretrained: str | None
    frames: int
    adapters: str
    adapted_depth: int | None

    def load(self) -> MaClip:
        """The model in evaluation mode. Raises what `maclip.load` and `maclip.build` raise."""
        import maclip

        if self.run is not None:
            return maclip.load(self.run, self.pretrained).eval()
        pretrained = self.pretrained or "openai"
        kind: dict[str, Any] = {"adapters": self.adapters, "adapted_depth": self.adapted_depth}
        if self.adapters == "none":
            kind["prototype"] = "none"
        return maclip.build(self.backbone, pretrained, frames=self.frames, **kind)


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    repeats: clips, one by one; every few of them a batch follows.
    batch: clips in a batch.
    threads: of each runner.
    """

    repeats: int = 30
    batch: int = 4
    threads: int = 1


@dataclass(frozen=True)
class Inputs:
    """What the runners get: T frames of `size` pixels a clip; `tokens`: the stem's (rows, width), None without one."""

    frames: int
    size: int
    feature_width: int
    batch: int
    tokens: tuple[int, int] | None
    token_type: str = "float32"

    @classmethod
    def of(cls, manifests: Sequence[Manifest], batch: int) -> Inputs:
        """For bundles of one model."""
        first = manifests[0]
        towers = [m.graphs["tower"] for m in manifests if "tower" in m.graphs]
        given = (first.frames, first.preprocess.size, first.feature_width, batch)
        if not towers:
            return cls(*given, None)
        spec = towers[0].inputs[0]
        return cls(*given, (int(spec.shape[2]), int(spec.shape[3])), spec.dtype)


@dataclass(frozen=True)
class RunnerSpec:
    """One row: `engine` is torch, onnxruntime or openvino, `precision` what its matrix products are in."""

    name: str
    engine: str
    device: str
    precision: str
    compiled: bool = False
    bundle: Path | None = None
    graphs: tuple[tuple[str, Path], ...] = ()

    @property
    def is_reference(self) -> bool:
        """Whether ratios on its device are relative to this one: eager torch in float32."""
        return self.engine == "torch" and not self.compiled and self.precision == "float32"


EAGER = RunnerSpec("eager torch", "torch", "cpu", "float32")


def torch_specs(compiled: bool, cuda: bool) -> list[RunnerSpec]:
    """The variants of torch that run here, beside `EAGER`; half precision on a GPU only."""
    found = [RunnerSpec("torch.compile", "torch", "cpu", "float32", True)] if compiled else []
    if cuda:
        found += [RunnerSpec(f"eager torch, {precision}", "torch", "cuda", precision) for precision in GPU_PRECISIONS]
        if compiled:
            found += [
                RunnerSpec(f"torch.compile, {precision}", "torch", "cuda", precision, True)
                for precision in GPU_PRECISIONS
            ]
    return found


def bundle_specs(bundle: Bundle, name: str) -> list[RunnerSpec]:
    """A bundle with every engine that is installed, in each of its int8 forms."""
    forms = bundle.manifest.form_names
    if not forms:
        return _specs(bundle, name)
    return [spec for form in forms for spec in _specs(bundle.in_form(form), f"{name}, {form}")]


def _specs(bundle: Bundle, name: str) -> list[RunnerSpec]:
    precision = bundle.manifest.precision
    graphs = tuple(
        (graph, bundle.graph_file(graph)) for graph in ("visual", "stem", "tower") if graph in bundle.manifest.graphs
    )

    def spec(engine: str, device: str, kind: str) -> RunnerSpec:
        return RunnerSpec(f"{name}: {engine}", engine, device, kind, False, bundle.path, graphs)

    found = [
        spec("onnxruntime", device, precision)
        for device, provider in ONNXRUNTIME_DEVICES.items()
        if provider in _providers()
    ]
    if find_spec("openvino") is not None:
        # Its processor plugin computes what was half precision in float32, or in bfloat16 when told to; of int8 it
        # knows the static form (QDQ) alone and turns the dynamic one into float32 products.
        static = bundle.manifest.quantization == "static"
        kinds = ["float32", *(["bf16"] if precision != "int8" and _openvino_has_bf16() else [])]
        kinds = ["int8"] if static else kinds
        found += [spec("openvino", "cpu", kind) for kind in kinds]
    return found


GPU_PRECISIONS = ("float32", "fp16")
ONNXRUNTIME_DEVICES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def _providers() -> list[str]:
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def _openvino_has_bf16() -> bool:
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
