"""The origin of a bundle: the run, the commit of this code, versions of libraries, digest of the training data."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from maclip.model.maclip import MaClip
from maclip.runs import ADAPTERS_FILE, COHORT_FILE, CONFIG_FILE, Run, RunConfig
from maclip_runtime.bundle.manifest import Provenance
from maclip_runtime.tools.measuring.machine import ROOT, commit_of, library_versions

# Names of distributions: several of them install the module onnxruntime.
LIBRARIES = (
    "torch", "open_clip_torch", "numpy", "safetensors", "onnx", "onnxscript", "onnxslim",
    "onnxruntime", "onnxruntime-gpu",
)  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """The run of a model: the name of its folder, and digests of its tuned tensors and of its dataset."""

    run: str
    run_sha256: str
    data_sha256: str


def load_run(run: str | Path | Run, pretrained: str | None = None) -> tuple[MaClip, RunConfig, Origin]:
    """Model, config and origin of a run, all of the same moment: its training may be writing at the same time.

    run: a folder, or an opened run, which is read again from its folder.
    pretrained: where the backbone's weights are now, if training found them elsewhere.

    Raises what `Run.open` and `Run.model` raise.
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
    """Change whenever training writes: it replaces whole files."""
    return [_stamp(run / name) for name in (CONFIG_FILE, ADAPTERS_FILE, COHORT_FILE)]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:  # whoever reads it reports what is wrong
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def provenance_of(origin: Origin | None) -> Provenance:
    """The origin of a bundle that is made now from a run; None: from a model in memory.

    What is unknown (no git, no run) is None and not an error.
    """
    return Provenance(
        run=origin.run if origin else None,
        run_sha256=origin.run_sha256 if origin else None,
        commit=commit_of(ROOT),
        data_sha256=origin.data_sha256 if origin else None,
        libraries=versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries of an export, as far as they are installed."""
    return {"python": platform.python_version(), **library_versions(LIBRARIES)}
