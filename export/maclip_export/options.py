"""What is chosen of an export."""

from __future__ import annotations

from dataclasses import dataclass

from maclip_runtime.errors import MaclipError

PRECISIONS = ("float32", "fp16", "int8")
QUANTIZATIONS = ("auto", "dynamic", "static")


@dataclass(frozen=True)
class ExportOptions:
    """How a bundle is written.

    `precision` is "float32", "fp16" (GPUs) or "int8" (CPUs, small GPUs). `quantization` of int8 is "dynamic" (the
    range of activations is found at run time), "static" (found on calibration clips, the QDQ form that TensorRT reads)
    or "auto": both are made and measured. `allow_loss` records what the gate would refuse. `text_encoder` adds
    the graph that embeds any name, `rtx` compiled engines for RTX cards. `force` replaces a bundle that is there.

    Raises `option-invalid`.
    """

    precision: str = "float32"
    quantization: str = "auto"
    allow_loss: bool = False
    text_encoder: bool = False
    rtx: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise MaclipError(
                "option-invalid", f"There is no precision {self.precision!r}.", f"Use one of: {', '.join(PRECISIONS)}."
            )
        if self.quantization not in QUANTIZATIONS:
            raise MaclipError(
                "option-invalid",
                f"There is no quantization {self.quantization!r}.",
                f"Use one of: {', '.join(QUANTIZATIONS)}.",
            )
