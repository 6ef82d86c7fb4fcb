"""The tiny CLIP that ships in the package: a small model of a drawn world, for trying out and testing maclip.

The folder itself is an open_clip `local-dir`: `open_clip_config.json`, `open_clip_model.safetensors` (half
precision), and a tokenizer of its own (`maclip.tiny.tokenizer`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
MODEL_NAME = f"local-dir:{FOLDER}"  # as open_clip.create_model takes it
WEIGHTS = FOLDER / "open_clip_model.safetensors"


def tokenizer() -> Any:
    """open_clip's `SimpleTokenizer` over the shipped merges: texts -> int64 [B, 32]."""
    from maclip.tiny import vocabulary

    return vocabulary.tokenizer()


__all__ = ["FOLDER", "MODEL_NAME", "WEIGHTS", "tokenizer"]
