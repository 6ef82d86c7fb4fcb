"""Growth with the gallery: random classes are matched, and read from a gallery."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from maclip_runtime.tools.bench.engine import open_bundle, open_encoder
from maclip_runtime.tools.bench.result import Classes
from maclip_runtime.tools.measuring.child import ChildTooSlow, Pipe, run_alone
from maclip_runtime.tools.measuring.memory import peak_resident_mib, resident_mib
from maclip_runtime.tools.measuring.spread import Times
from maclip_runtime.tools.measuring.turns import repeat, seconds_of

MATCH_SECONDS, MIN_RUNS = 1.5, 10
LOAD_LIMIT_S = 120.0  # what takes longer to read has no figure
MIB = 2**20


def measure_classes(bundle: Path, counts: tuple[int, ...], engine: dict[str, Any]) -> tuple[Classes, ...]:
    """Measure each number of classes, each in processes of its own."""
    found = []
    for count in counts:
        matched = run_alone(match, str(bundle), count, engine)
        with tempfile.TemporaryDirectory(prefix="maclip-bench-") as folder:
            try:
                loaded = run_alone(load, str(bundle), count, engine, folder, limit_s=LOAD_LIMIT_S)
            except ChildTooSlow:
                loaded = {"first_load_s": None, "load_s": None, "file_mib": None}
        found.append(
            Classes(
                count,
                Times(**matched["match"]),
                matched["arrays_mib"],
                matched["grown_mib"],
                loaded["first_load_s"],
                loaded["load_s"],
                LOAD_LIMIT_S,
                loaded["file_mib"],
            )
        )
    return tuple(found)


def match(pipe: Pipe, bundle: str, classes: int, engine: dict[str, Any]) -> dict[str, Any]:
    """In a fresh process: match one query with that many random classes."""
    opened = open_bundle(bundle, engine)
    frames, width = opened.manifest.frames, opened.manifest.feature_width
    encoder = open_encoder(opened, engine)
    rng = np.random.default_rng(classes)
    query = rng.standard_normal((1, frames, width), np.float32)
    small = rng.standard_normal((1, frames, width), np.float32)
    encoder.match(query, small, small[:, 0], np.ones(1, np.bool_))  # loads the graph, which does not count as growth
    before = resident_mib()
    prototypes = rng.standard_normal((classes, frames, width), np.float32)
    text, has_text = rng.standard_normal((classes, width), np.float32), np.ones(classes, np.bool_)
    prototypes, text = encoder.prepare_classes(prototypes, text)
    took = repeat(
        lambda: encoder.match(query, prototypes, text, has_text, prepared=True), MATCH_SECONDS, min_runs=MIN_RUNS
    )
    peak = peak_resident_mib()
    return {
        "match": asdict(Times.of(took)),
        "arrays_mib": (prototypes.nbytes + text.nbytes) / MIB,
        "grown_mib": None if peak is None or before is None else max(0.0, peak - before),
    }


def load(pipe: Pipe, bundle: str, classes: int, engine: dict[str, Any], folder: str) -> dict[str, Any]:
    """In a fresh process: fill a gallery in `folder` with that many classes of one clip, and read it twice."""
    from maclip_runtime.gallery import EnrolledClip, Gallery
    from maclip_runtime.limits.measured import gallery_limits
    from maclip_runtime.matching.index import build_index

    opened = open_bundle(bundle, engine)
    shape = (opened.manifest.frames, opened.manifest.feature_width)
    rng = np.random.default_rng(classes)
    rows = rng.standard_normal((classes, *shape), np.float32)
    clips = [
        EnrolledClip(f"class {n}", None, None, row, row, f"{n:064x}", "made up", 2.0, {}, b"")
        for n, row in enumerate(rows)
    ]
    path = Path(folder) / "gallery.db"
    with Gallery(path, contract=opened.manifest.contract) as gallery:
        gallery.add(clips, rows, opened.graph_digest("prototype"))
    encoder = open_encoder(opened, engine)
    took = []
    for _ in range(2):
        with Gallery(path, contract=opened.manifest.contract) as gallery:
            took.append(seconds_of(partial(build_index, gallery, encoder, partial(gallery_limits, gallery, encoder))))
    return {"first_load_s": took[0], "load_s": took[1], "file_mib": path.stat().st_size / MIB}
