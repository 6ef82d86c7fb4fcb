"""Options that several of the device's commands share, and how they open what those name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip_runtime import Gallery, Recognizer

BundleOption = Annotated[Path, typer.Option("--bundle", help="The folder that `maclip export` wrote.")]
GalleryOption = Annotated[Path, typer.Option("--gallery", help="The gallery's file.")]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        help="auto, cpu, cuda, openvino (bfloat16 where the processor has it), openvino-f32, tensorrt, rtx, the name "
        "of an onnxruntime provider, or a plug-in provider's library file; see maclip-run doctor.",
    ),
]
AllowFallbackOption = Annotated[
    bool, typer.Option("--allow-fallback", help="Accept that the device leaves some nodes to the processor.")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Of the processor, for the network; default: each core there is to use."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON Lines on stdout and nothing else.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A class of the gallery.")]


def open_recognizer(
    bundle: Path,
    gallery: Path,
    device: str,
    decisions: Any = None,
    allow_fallback: bool = False,
    threads: int | None = None,
) -> Recognizer:
    """A recogniser on a bundle and a gallery, `decisions` None for the defaults."""
    from maclip_runtime import Recognizer

    return Recognizer.open(
        bundle, gallery, device=device, decisions=decisions, allow_fallback=allow_fallback, threads=threads
    )


def open_gallery(path: Path) -> Gallery:
    """A gallery that must be there. Raises `gallery-missing`."""
    from maclip_runtime import Gallery

    if not path.exists():
        raise MaclipError("gallery-missing", f"There is no gallery {path}.", "Enroll a clip first, or give its file.")
    return Gallery(path)
