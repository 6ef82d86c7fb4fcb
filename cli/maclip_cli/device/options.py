"""Options that several device commands share, and functions that open what they name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip_runtime import Gallery, Recognizer

# Defaults; what is given wins.
BUNDLE_VARIABLE, GALLERY_VARIABLE, STORE_VARIABLE = "MACLIP_BUNDLE", "MACLIP_GALLERY", "MACLIP_STORE"

# The help names the variable, as `[env var: MACLIP_BUNDLE]`.
BundleArgument = Annotated[
    Path,
    typer.Argument(metavar="BUNDLE", envvar=BUNDLE_VARIABLE, help="The folder that `maclip export` wrote."),
]
BundleOption = Annotated[
    Path, typer.Option("--bundle", envvar=BUNDLE_VARIABLE, help="The folder that `maclip export` wrote.")
]
GalleryOption = Annotated[Path, typer.Option("--gallery", envvar=GALLERY_VARIABLE, help="The gallery's file.")]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        help="auto (what doctor, bench or build measured here, else a rule), cpu, cuda, openvino (bfloat16 where the "
        "CPU has it), openvino-f32, openvino:GPU, openvino:NPU, tensorrt, rtx, an onnxruntime provider's name, a "
        "plug-in provider's library file, or a server, triton:grpc://HOST:PORT; see maclip-run doctor.",
    ),
]
AllowFallbackOption = Annotated[
    bool,
    typer.Option(
        "--allow-fallback",
        help="Accept that some nodes run on the CPU instead of the device, or that a server is not there yet.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads for the network; default: one for each usable core."),
]
InsecureOption = Annotated[
    bool,
    typer.Option("--insecure", help="Accept any certificate of https:// and rtsps://, also one that is forged."),
]
TrustEnginesOption = Annotated[
    bool,
    typer.Option(
        "--trust-engines",
        help="Load compiled engines (TensorRT, RTX) that the bundle brings along; they run what their maker wrote, so "
        "verify its signature first (maclip-run verify). Default: build them from the bundle's graphs.",
    ),
]
StoreOption = Annotated[
    Path,
    typer.Option("--store", metavar="DIR", envvar=STORE_VARIABLE, help="The folder of indexed videos."),
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
    trust_engines: bool = False,
) -> Recognizer:
    """Open a recogniser on a bundle and a gallery; `decisions` None: the defaults."""
    from maclip_runtime import Recognizer

    return Recognizer.open(
        bundle,
        gallery,
        device=device,
        decisions=decisions,
        allow_fallback=allow_fallback,
        threads=threads,
        trust_engines=trust_engines,
    )


def total_length(sources: Sequence[str], seconds: float | None = None) -> float | None:
    """How many seconds of files there are to read, for a bar; None where a source does not say, or nobody watches.

    seconds: at most so many of each.
    """
    from maclip_cli.console import people
    from maclip_runtime.sources import is_live, open_source

    total = 0.0
    for address in sources if people().is_terminal else ():
        with suppress(MaclipError):
            if is_live(address):
                return None
            with open_source(address) as opened:
                length_s = opened.length_s
            if length_s is not None:
                total += length_s if seconds is None else min(length_s, seconds)
                continue
        return None
    return total or None


def open_gallery(path: Path) -> Gallery:
    """Open an existing gallery. Raises `gallery-missing`."""
    from maclip_runtime import Gallery

    require_gallery(path)
    return Gallery(path)


def require_gallery(path: Path) -> None:
    """Raises `gallery-missing` for a gallery that nobody has enrolled into yet."""
    if not os.path.exists(path):
        raise MaclipError(
            "gallery-missing", f"There is no gallery {path}.", "Enroll a clip first, or give the gallery's file."
        )
