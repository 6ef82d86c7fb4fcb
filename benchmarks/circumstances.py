"""Where and on what figures of drawn streams and clips were measured: goes into each JSON beside them."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from pathlib import Path
from typing import Any

from benchmarks.drawn import TEST, VALIDATION

ROOT = Path(__file__).parents[1]


def circumstances(bundle: Path) -> dict[str, Any]:
    """Machine, commit, versions, the bundle's contract and digest of weights, and what was drawn."""
    from maclip_export.bundle.provenance import versions
    from maclip_runtime.tools.measuring.machine import commit_of

    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    return {
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "commit": commit_of(ROOT),
        "versions": versions(),
        "bundle": {key: manifest.get(key) for key in ("contract", "metric", "fusion_weight", "limit")},
        "drawn": {name: dataclasses.asdict(each) for name, each in (("validation", VALIDATION), ("test", TEST))},
    }
