"""Where a bundle comes from: run, commit of the tool, versions of the libraries, digest of the training data."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import maclip
from maclip.model.maclip import MaClip
from maclip.runs import ADAPTERS_FILE, CONFIG_FILE, Run, RunConfig
from maclip_runtime.bundle.manifest import Provenance

# By their names as distributions: onnxruntime is one module of several.
LIBRARIES = (
    "torch", "open_clip_torch", "numpy", "safetensors", "onnx", "onnxscript", "onnxslim",
    "onnxruntime", "onnxruntime-gpu",
)  # fmt: skip
GIT_SECONDS = 20.0


@dataclass(frozen=True)
class Origin:
    """The run that a model came from: its folder's name, and the digests of its tuned tensors and of its data."""

    run: str
    run_sha256: str
    data_sha256: str


def load_run(run: str | Path | Run, pretrained: str | None = None) -> tuple[MaClip, RunConfig, Origin]:
    """Model, config and origin of one and the same state of a run folder, whose training may go on meanwhile.

    An opened run is read again from its folder. `pretrained`: where the backbone's weights are now. Raises what
    `Run.open` and `Run.model` raise.
    """
    path = run.path if isinstance(run, Run) else Path(run)
    while True:
        before = _stamps(path)
        opened = Run.open(path)
        model = opened.model(pretrained)
        digest = opened.adapters_sha256
        if _stamps(path) == before:
            return model, opened.config, Origin(path.resolve().name, digest, opened.config.data_sha256)


def _stamps(run: Path) -> list[tuple[int, int, int] | None]:
    """What tells one state of a run's files from the next: training replaces each file whole."""
    return [_stamp(run / name) for name in (CONFIG_FILE, ADAPTERS_FILE)]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:  # reading it says what is wrong
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def provenance_of(origin: Origin | None) -> Provenance:
    """What is known of a bundle made now from a run; None: from plain CLIP.

    What cannot be known (no git, an older run without a digest of its data) is None and no error.
    """
    return Provenance(
        run=origin.run if origin else None,
        run_sha256=origin.run_sha256 if origin else None,
        commit=commit_of(Path(maclip.__file__).parents[1]),
        data_sha256=origin.data_sha256 if origin else None,
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
