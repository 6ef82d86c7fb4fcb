"""Where a bundle comes from: run, commit of the tool, versions of the libraries, digest of the training data."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import maclip
from maclip.run import ADAPTERS_FILE, read_run
from maclip_runtime.manifest import Provenance, file_sha256

# By their names as distributions: onnxruntime is one module of several.
LIBRARIES = (
    "torch", "open_clip_torch", "numpy", "safetensors", "onnx", "onnxscript", "onnxslim",
    "onnxruntime", "onnxruntime-gpu",
)  # fmt: skip
GIT_SECONDS = 20.0


def provenance_of(run: Path | None) -> Provenance:
    """What is known of a bundle made now from the folder `run`; None: from plain CLIP.

    Raises `run-missing` and `run-invalid`; what cannot be known (no git, an older run without a digest of its
    data) is None and no error.
    """
    return Provenance(
        run=run.resolve().name if run is not None else None,
        run_sha256=file_sha256(run / ADAPTERS_FILE) if run is not None else None,
        commit=commit_of(Path(maclip.__file__).parents[1]),
        data_sha256=read_run(run).data_sha256 if run is not None else None,
        libraries=versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def commit_of(root: Path) -> str | None:
    """The commit checked out at `root`, "-dirty" where tracked files differ; None where `root` is no checkout.

    Only a checkout's own top folder counts: an installed maclip may lie inside another project's checkout.
    """
    if not (root / ".git").exists():
        return None
    # Inside a git hook these variables point at another repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that take part in an export, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
