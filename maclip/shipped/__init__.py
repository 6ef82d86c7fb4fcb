"""The trained runs that ship in the package, on the tiny CLIP and drawn motions: for the demo, and for trying maclip.

`settings` says how they were trained. `python -m maclip.shipped.train OUT` does it again, and `pack` writes this
folder: a run folder for each name (weights in half precision, which `Run.open(...).model()` loads), and the model card.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
CARD_FILE = "model_card.json"

PROTOTYPE_ONLY, ADAPTERS_ONLY, FULL, LADDER = "prototype-only", "adapters-only", "full", "ladder"
SHIPPED = (PROTOTYPE_ONLY, ADAPTERS_ONLY, FULL, LADDER)  # in this order in tables


def shipped_run(name: str) -> Path:
    """The run folder of the shipped run `name`, one of `SHIPPED`."""
    return FOLDER / name


def read_card() -> dict[str, Any]:
    """The content of `model_card.json`."""
    card: dict[str, Any] = json.loads((FOLDER / CARD_FILE).read_text(encoding="utf-8"))
    return card


__all__ = ["ADAPTERS_ONLY", "FOLDER", "FULL", "LADDER", "PROTOTYPE_ONLY", "SHIPPED", "read_card", "shipped_run"]
