"""Which of open_clip's models MA-CLIP fits, found by building their image towers without weights or memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from open_clip.model import CLIPVisionCfg, _build_vision_tower

from maclip.towers import FrozenTower, cut_tower

# What a sentence can say; `maclip backbones` lists each name, and a test holds the two together.
FAMILIES = "open_clip's ViT models: CLIP, SigLIP, SigLIP 2, CLIPA, CoCa, ViTamin and MobileCLIP's B and L"
OWN_TEXT, BORROWED_TOKENIZER, BORROWED_TOWER = "own", "tokenizer from a hub", "text encoder from a hub"


@dataclass(frozen=True)
class Entry:
    """One model of open_clip: its input in px, its blocks, tokens a frame, widths D and D', what stands for a frame.

    `text` says what more is needed to read a name: nothing ("own"), or something from a model hub. `tags` are the
    weights that open_clip knows. `problem` is None where MA-CLIP fits, else the reason; all figures are then None.
    """

    name: str
    tags: tuple[str, ...]
    text: str
    problem: str | None
    size: int | None = None
    blocks: int | None = None
    tokens: int | None = None
    width: int | None = None
    feature_width: int | None = None
    class_token: bool | None = None


def catalogue() -> list[Entry]:
    """All models that open_clip knows by name, in its order; takes some seconds."""
    return [look_up(name) for name in open_clip.list_models()]


def look_up(name: str) -> Entry:
    """What MA-CLIP makes of the model `name`, which open_clip must know."""
    config = open_clip.get_model_config(name)
    known = tuple(open_clip.list_pretrained_tags_by_model(name)), _text_of(config["text_cfg"])
    try:
        tower, size = _weightless(config)
    except ValueError as reason:
        return Entry(name, *known, str(reason))
    figures = size, len(tower.blocks), tower.rows, tower.width, tower.feature_width
    return Entry(name, *known, None, *figures, tower.mean_from is None)


def _weightless(config: dict[str, Any]) -> tuple[FrozenTower, int]:
    """The image tower of a configuration on torch's meta device, and the px of a side that it takes."""
    with torch.device("meta"):
        vision = CLIPVisionCfg(**config["vision_cfg"])
        visual = _build_vision_tower(config["embed_dim"], vision, config.get("quick_gelu", False))
    return cut_tower(visual), int(visual.image_size[0])


def _text_of(config: dict[str, Any]) -> str:
    if config.get("hf_model_name"):
        return BORROWED_TOWER
    return BORROWED_TOKENIZER if config.get("hf_tokenizer_name") else OWN_TEXT
