"""One runner each for torch, onnxruntime and OpenVINO: a clip, a batch, or a step of a stream to frame features.

They live in child processes (`maclip_runtime.tools.measuring.child`), so libraries are imported where they are used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maclip_export.bench.plan import BATCH, CLIP, STEP, Inputs, ModelSource, RunnerSpec
from maclip_runtime.engines.openvino import has_bf16
from maclip_runtime.errors import MaclipError

Array = npt.NDArray[Any]
ERRORS_ONLY = 3  # onnxruntime's log severity
SEED = 0


def open_runner(spec: RunnerSpec, source: ModelSource, inputs: Inputs, threads: int) -> Runner:
    """The runner that `spec` names, with its library imported and nothing loaded yet."""
    if spec.engine == "torch":
        return TorchRunner(spec, source, inputs, threads)
    if spec.engine == "onnxruntime":
        return OnnxRunner(spec, inputs, threads)
    return OpenVinoRunner(spec, inputs, threads)


class Runner(ABC):
    """Frame features by one engine, of the same seeded noise in every runner; no clip has a text."""

    def __init__(self, inputs: Inputs) -> None:
        random = np.random.default_rng(SEED)
        shape = (inputs.batch, inputs.frames, inputs.size, inputs.size, 3)
        self.inputs = inputs
        self._clips: Array = random.integers(0, 256, shape, dtype=np.uint8)
        self._ring: Array | None = None
        if inputs.tokens is not None:
            self._ring = random.standard_normal((1, inputs.frames, *inputs.tokens)).astype(inputs.token_type)

    @abstractmethod
    def load(self) -> None:
        """Read the model: what is measured as memory begins here."""

    @abstractmethod
    def features(self, clips: Array) -> Array:
        """uint8 [B, T, H, W, 3] -> [B, T, D']."""

    @abstractmethod
    def stem(self, frames: Array) -> Array:
        """uint8 [F, H, W, 3] -> tokens [F, N+1, D]."""

    @abstractmethod
    def tower(self, tokens: Array) -> Array:
        """Tokens [B, T, N+1, D] -> [B, T, D']."""

    @property
    def works(self) -> tuple[str, ...]:
        """What this runner can be asked for."""
        return (CLIP, BATCH) if self._ring is None else (CLIP, BATCH, STEP)

    def run(self, work: str) -> Array:
        """One clip, a batch of clips, or a stream's step: the stem on the new frame, the tower on T frames."""
        if work != STEP:
            return self.features(self._clips[:1] if work == CLIP else self._clips)
        assert self._ring is not None
        self._ring[:, -1] = self.stem(self._clips[0, :1])
        return self.tower(self._ring)


class TorchRunner(Runner):
    """The model itself, eager or compiled; half precision where `spec` says fp16."""

    def __init__(self, spec: RunnerSpec, source: ModelSource, inputs: Inputs, threads: int) -> None:
        super().__init__(inputs)
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self._spec, self._source, self._torch = spec, source, torch

    def load(self) -> None:
        """The model on its device, and what of it is compiled."""
        self.model = self._source.load().to(self._spec.device)
        if self._spec.precision == "fp16":
            self.model.half()
        self._calls: dict[str, Any] = {
            name: self._torch.compile(getattr(self.model, name), dynamic=False)
            if self._spec.compiled
            else getattr(self.model, name)
            for name in ("features", "stem", "tower")
        }

    def features(self, clips: Array) -> Array:
        """`MaClip.features` of the query branch."""
        return self._call("features", clips)

    def stem(self, frames: Array) -> Array:
        """`MaClip.stem`."""
        return self._call("stem", frames)

    def tower(self, tokens: Array) -> Array:
        """`MaClip.tower` of the query branch."""
        return self._call("tower", tokens)

    def _call(self, name: str, array: Array) -> Array:
        tensor = self._torch.from_numpy(array).to(self._spec.device)
        if tensor.is_floating_point():
            tensor = tensor.to(self.model.pixel_mean.dtype)
        out: Array = self._calls[name](tensor).float().cpu().numpy()  # on a GPU this waits for the end
        return out


class _GraphRunner(Runner):
    """What the engines that read a bundle's graphs share."""

    def __init__(self, spec: RunnerSpec, inputs: Inputs, threads: int) -> None:
        super().__init__(inputs)
        self._spec, self._threads = spec, threads
        self._graphs: dict[str, Any] = {}

    def load(self) -> None:
        self._graphs = {name: self._open(path) for name, path in self._spec.graphs}

    @property
    def works(self) -> tuple[str, ...]:
        return super().works if any(name == "stem" for name, _ in self._spec.graphs) else (CLIP, BATCH)

    def features(self, clips: Array) -> Array:
        if "visual" in self._graphs:
            return self._run("visual", {"frames": clips, **self._no_text(len(clips))})
        tokens = self.stem(clips.reshape(-1, *clips.shape[2:]))
        return self.tower(tokens.reshape(*clips.shape[:2], *tokens.shape[1:]))

    def stem(self, frames: Array) -> Array:
        return self._run("stem", {"frames": frames})

    def tower(self, tokens: Array) -> Array:
        return self._run("tower", {"tokens": tokens, **self._no_text(len(tokens))})

    @abstractmethod
    def _open(self, path: Path) -> Any:
        """One graph, ready to run."""

    @abstractmethod
    def _run(self, graph: str, feed: dict[str, Array]) -> Array:
        """The only output of a graph."""

    def _no_text(self, batch: int) -> dict[str, Array]:
        text = np.zeros((batch, self.inputs.feature_width), np.float32)
        return {"text": text, "has_text": np.zeros(batch, np.bool_)}


class OnnxRunner(_GraphRunner):
    """A bundle's graphs with onnxruntime, on the processor or on a GPU and on no other device."""

    def __init__(self, spec: RunnerSpec, inputs: Inputs, threads: int) -> None:
        super().__init__(spec, inputs, threads)
        import onnxruntime

        self._library = onnxruntime
        if spec.device == "cuda" and hasattr(onnxruntime, "preload_dlls"):  # onnxruntime >= 1.21
            onnxruntime.preload_dlls()

    def _open(self, path: Path) -> Any:
        options = self._library.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = self._threads
        wanted = "CUDAExecutionProvider" if self._spec.device == "cuda" else "CPUExecutionProvider"
        session = self._library.InferenceSession(str(path), options, providers=[wanted])
        if session.get_providers()[0] != wanted:
            raise MaclipError(
                "device-missing", f"onnxruntime could not start {wanted}.", "Look at what its log says of CUDA."
            )
        return session

    def _run(self, graph: str, feed: dict[str, Array]) -> Array:
        out: Array = self._graphs[graph].run(None, feed)[0]
        return out


class OpenVinoRunner(_GraphRunner):
    """A bundle's graphs with OpenVINO on the processor."""

    def __init__(self, spec: RunnerSpec, inputs: Inputs, threads: int) -> None:
        super().__init__(spec, inputs, threads)
        import openvino

        self._core = openvino.Core()

    def _open(self, path: Path) -> Any:
        # As the runtime does: around int8 products bfloat16 where the processor has it.
        half = self._spec.precision == "bf16" or (self._spec.precision == "int8" and has_bf16(self._core))
        hint = "bf16" if half else "f32"
        settings = {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": self._threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        return self._core.compile_model(self._core.read_model(path), "CPU", settings)

    def _run(self, graph: str, feed: dict[str, Array]) -> Array:
        # Inputs that a graph does not read (plain CLIP has no use for a text) are not inputs to OpenVINO.
        compiled = self._graphs[graph]
        known = {name for port in compiled.inputs for name in port.get_names()}
        out: Array = compiled({name: value for name, value in feed.items() if name in known})[0]
        return out
