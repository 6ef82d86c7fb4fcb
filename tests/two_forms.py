"""A tiny bundle with both int8 forms. Its graphs compute in float; the static form's features are larger by SHIFT."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path

from tiny_bundle import VISUAL, seal, write_bundle, write_graph

from maclip_runtime.bundle.figures import Pair, Pairs
from maclip_runtime.bundle.manifest import Form, Manifest

SHIFT = 0.25
SHIFTED = VISUAL.replace(
    "features = Add(flat, said_frames)",
    f"""given = Add(flat, said_frames)
    shift = Constant<value_float: float = {SHIFT}>()
    features = Add(given, shift)""",
)


def write_two_forms(path: Path, *, steps: dict[tuple[str, str], float] | None = None, only: str | None = None) -> Path:
    """Write the bundle; the dynamic form is the first.

    steps: milliseconds a step by (engine, form), as if the export had measured them on this architecture.
    only: the one form to hold.
    """
    write_bundle(path)
    static = write_graph(path / "visual.static.onnx", SHIFTED)
    manifest = Manifest.from_json((path / "manifest.json").read_text())
    forms = {"static": Form({"visual": static}, {}, None)}
    manifest = dataclasses.replace(manifest, precision="int8", quantization="dynamic", forms=forms)
    if steps:
        fastest = min(steps.values())
        ordered = sorted(steps.items(), key=lambda item: item[1])
        pairs = [Pair(form, engine, "1.0", ms, ms / fastest) for (engine, form), ms in ordered]
        best: dict[str, str] = {}
        for pair in pairs:
            best.setdefault(pair.engine, pair.form)
        manifest = dataclasses.replace(manifest, pairs=Pairs("a processor", platform.machine(), tuple(pairs), best))
    if only is not None:
        manifest = manifest.in_form(only)
    seal(path, manifest)
    return path
