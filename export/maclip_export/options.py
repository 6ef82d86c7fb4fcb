"""What can be chosen of an export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip.data.dataset import Dataset

PRECISIONS = ("float32", "fp16", "int8")
QUANTIZATIONS = ("both", "dynamic", "static")
MIN_GATE_CLIPS = 2  # one is enrolled, one is asked for
MAX_GATE_CLIPS = 1000  # of a class: all are held in memory


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How a bundle is written. Raises `option-invalid`.

    precision: "float32", "fp16" (for GPUs) or "int8" (for CPUs and small GPUs).
    quantization: how int8 activations are quantized: "dynamic" (ranges are found at run time), "static" (ranges are
        measured on calibration clips; the QDQ form, which TensorRT reads) or "both" (each engine opens the form that
        it runs faster; they share their weights). Of both, a form beyond the gate's limits is left out.
    names: action names to freeze into the bundle, beside those of the run's classes. `read_names` reads a file of them.
    text_encoder: add the text graph and the tokenizer, so that the device can embed any name.
    rtx: add engines for RTX cards.
    triton: a folder to write a model repository for a Triton server into; None: none.
    gate_data: the clips that the bundle is compared with torch on, a folder or a dataset; None: the run's own clips,
        or generated ones.
    gate_clips: how many of them a class; from 2 to 1,000.
    calibration_data: the clips that static int8 is calibrated on; None: the run's training classes, else the gate's
        clips, else generated ones.
    allow_loss: write the bundle even if it is worse than the gate allows; the manifest records the loss.
    force: replace a bundle that is there.
    pretrained: a tag of open_clip or a checkpoint, where a run's backbone is no longer where training found it.
    """

    precision: str = "float32"
    quantization: str = "both"
    names: tuple[str, ...] = ()
    text_encoder: bool = False
    rtx: bool = False
    triton: str | Path | None = None
    gate_data: str | Path | Dataset | None = None
    gate_clips: int = 4
    calibration_data: str | Path | Dataset | None = None
    allow_loss: bool = False
    force: bool = False
    pretrained: str | None = None

    def __post_init__(self) -> None:
        _require_one_of("precision", self.precision, PRECISIONS)
        _require_one_of("quantization", self.quantization, QUANTIZATIONS)
        if isinstance(self.names, str) or not all(isinstance(name, str) for name in self.names):
            raise MaclipError(
                "option-invalid",
                f"names must be a list of action names, not {self.names!r:.60}.",
                'Give names=["waving"], or names=read_names("kinetics700").',
            )
        object.__setattr__(self, "names", tuple(self.names))
        count: Any = self.gate_clips
        if not isinstance(count, int) or not MIN_GATE_CLIPS <= count <= MAX_GATE_CLIPS:
            raise MaclipError(
                "option-invalid",
                f"gate_clips must be a number from {MIN_GATE_CLIPS} to {MAX_GATE_CLIPS:,}, not {count!r:.60}.",
                "Of the clips of a class one is enrolled, and the others are asked for.",
            )

    @property
    def needs_calibration(self) -> bool:
        """Whether clips must be found to measure the ranges of activations on."""
        return self.precision == "int8" and self.quantization != "dynamic"


def _require_one_of(what: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise MaclipError("option-invalid", f"There is no {what} {value!r}.", f"Use one of: {', '.join(known)}.")
