"""Write a bundle: graphs, frozen names and manifest into a folder beside, checked, then moved into place at once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from torch import Tensor

import maclip
from maclip.backbone import state_sha256
from maclip.model import MaClip
from maclip_export.gate import Gate
from maclip_export.graphs import graphs_of
from maclip_export.onnx_writer import write_onnx
from maclip_runtime.errors import MaclipError
from maclip_runtime.manifest import (
    MANIFEST_FILE,
    SCHEMA_VERSION,
    Backbone,
    FileSpec,
    GateFigure,
    GraphSpec,
    Manifest,
    Names,
    Unknown,
    file_sha256,
)

NAMES_FILE, NAMES_TENSORS = "names.json", "names.safetensors"


@dataclass(frozen=True)
class Exported:
    """What one graph came to: bytes with its weights, seconds to export, and its figures at the gate."""

    graph: str
    size: int
    seconds: float
    gate: GateFigure


def write_bundle(
    model: MaClip,
    out: Path,
    names: Sequence[str],
    clips: Tensor,
    unknown: Unknown | None,
    force: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> list[Exported]:
    """Export `model` to the folder `out`; `clips` uint8 [n, T, size, size, 3] are what the gate looks at.

    Raises `output-exists` (unless `force`, which replaces a bundle), `output-unwritable`, `precision-rejected`.
    A bundle that did not pass never has the final name.
    """
    import time

    model = model.cpu().eval()
    text = model.encode_names(names)
    gate = Gate(model, clips, text if len(text) else model.encode_names(["an action"]))
    done: list[Exported] = []
    with _new_folder(out, force) as folder:
        graphs: dict[str, GraphSpec] = {}
        for graph in graphs_of(model):
            begun = time.monotonic()
            note(f"exporting {graph.name}")
            files = write_onnx(graph, folder)
            seconds = time.monotonic() - begun
            note(f"checking {graph.name} against torch")
            figure = gate.check(graph, files[0])
            graphs[graph.name] = GraphSpec(files[0].name, graph.inputs, graph.outputs)
            done.append(Exported(graph.name, sum(f.stat().st_size for f in files), seconds, figure))
        _write_names(folder, names, model.config.templates, text)
        manifest = _manifest(model, graphs, names, unknown, {e.graph: e.gate for e in done}, folder)
        (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return done


def contract_of(model: MaClip) -> str:
    """A hash of what makes features comparable: the visual weights, the preparation of frames, T and D'."""
    visual = {key: value for key, value in model.clip.state_dict().items() if key.startswith("visual.")}
    tuned = {k: v for k, v in model.tuned_state().items() if k.startswith(("blocks.", "temporal_embedding"))}
    facts = {
        "weights": state_sha256(visual | tuned),
        "preprocess": repr(model.backbone.preprocess),
        "frames": model.config.frames,
        "feature_width": model.feature_width,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _manifest(
    model: MaClip,
    graphs: dict[str, GraphSpec],
    names: Sequence[str],
    unknown: Unknown | None,
    gate: dict[str, GateFigure],
    folder: Path,
) -> Manifest:
    backbone = model.backbone
    return Manifest(
        schema=SCHEMA_VERSION,
        tool_version=maclip.__version__,
        backbone=Backbone(backbone.name, backbone.pretrained, backbone.sha256),
        trained=bool(model.tuned_parameters()),
        frames=model.config.frames,
        feature_width=model.feature_width,
        preprocess=backbone.preprocess,
        adapted_depth=model.adapted_depth,
        metric=model.config.metric,
        fusion_weight=model.config.fusion_weight,
        scale=model.scale,
        precision="float32",
        unknown=unknown,
        names=Names(len(names), model.config.templates),
        graphs=graphs,
        files={f.name: FileSpec(file_sha256(f), f.stat().st_size) for f in sorted(folder.iterdir())},
        gate=gate,
        contract=contract_of(model),
    )


def _write_names(folder: Path, names: Sequence[str], templates: tuple[str, ...], text: Tensor) -> None:
    listed = {"names": list(names), "templates": list(templates)}
    (folder / NAMES_FILE).write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    save_file({"text": np.ascontiguousarray(text.numpy(), dtype=np.float32)}, folder / NAMES_TENSORS)


@contextmanager
def _new_folder(out: Path, force: bool) -> Iterator[Path]:
    """A folder beside `out` that takes its name when all went well."""
    if out.exists() and not force:
        raise MaclipError(
            "output-exists", f"{out} is already there.", "Add --force to replace it, or choose another -o."
        )
    if out.exists() and not (out / MANIFEST_FILE).is_file():
        raise MaclipError("output-exists", f"{out} is there and is no bundle.", "Choose another -o.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        yield folder
        # mkdtemp and safetensors write for the owner alone, but a device may run as another user.
        folder.chmod(0o755)
        for path in folder.iterdir():
            path.chmod(0o644)
        _swap(folder, out)
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _swap(folder: Path, out: Path) -> None:
    """Put `folder` in the place of `out`; on any fault the old one is there still."""
    old = folder.with_name(folder.name + ".old")
    if out.exists():
        os.replace(out, old)
    try:
        os.replace(folder, out)
    except OSError:
        if old.exists():
            os.replace(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _unwritable(out: Path, error: OSError) -> MaclipError:
    return MaclipError(
        "output-unwritable", f"{out} cannot be written ({error.strerror or error}).", "Choose a place you may write to."
    )
