"""Which of open_clip's models MA-CLIP fits, found by building their image towers without weights or memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import open_clip
import torch
from open_clip.model import CLIPVisionCfg, _build_vision_tower
from torch.overrides import TorchFunctionMode

from maclip.backbones.image_towers import FrozenTower, cut_tower

# What a sentence can say; `maclip backbones` lists each name, and a test holds the two together.
FAMILIES = "open_clip's ViT models: CLIP, SigLIP, SigLIP 2, CLIPA, CoCa, ViTamin and MobileCLIP's B and L"
OWN_TEXT, BORROWED_TOKENIZER, BORROWED_TOWER = "own", "hub tokenizer", "hub encoder"


@dataclass(frozen=True)
class Entry:
    """One model of open_clip: its input in px, its blocks, tokens a frame, widths D and D', what stands for a frame.

    `text` says what reads a name: the model alone ("own"), or with it a tokenizer or an encoder from a model hub.
    `tags` are the weights that open_clip knows. `problem` is None where MA-CLIP fits, else the reason, and no figures.
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


def catalogue(progress: Callable[[int, int], None] | None = None) -> list[Entry]:
    """All models that open_clip knows by name, in its order; takes some seconds."""
    names = open_clip.list_models()
    found = []
    for done, name in enumerate(names, 1):
        found.append(look_up(name))
        if progress:
            progress(done, len(names))
    return found


def look_up(name: str) -> Entry:
    """What MA-CLIP makes of the model `name`, which open_clip must know."""
    config = open_clip.get_model_config(name)
    known = tuple(open_clip.list_pretrained_tags_by_model(name)), _text_of(config["text_cfg"])
    try:
        tower, size = _weightless(json.dumps(config["vision_cfg"]), config["embed_dim"])
    except ValueError as reason:
        return Entry(name, *known, str(reason))
    figures = size, len(tower.blocks), tower.rows, tower.width, tower.feature_width
    return Entry(name, *known, None, *figures, tower.mean_from is None)


class _WithoutValues(TorchFunctionMode):
    """Leaves out what gives tensors their initial values: on the meta device they have none, and it took a minute."""

    VALUES = frozenset(["add_", "clamp_", "copy_", "div_", "erfinv_", "fill_", "mul_", "normal_", "uniform_", "zero_"])

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in self.VALUES:
            return args[0] if args else kwargs["tensor"]  # torch.nn.init hands its tensor on by name
        return func(*args, **(kwargs or {}))


@cache
def _weightless(vision: str, feature_width: int) -> tuple[FrozenTower, int]:
    """The image tower of a configuration on torch's meta device, and the px of a side that it takes."""
    with torch.device("meta"), _WithoutValues():
        visual = _build_vision_tower(feature_width, CLIPVisionCfg(**json.loads(vision)))
    return cut_tower(visual), int(visual.image_size[0])


def _text_of(config: dict[str, Any]) -> str:
    if config.get("hf_model_name"):
        return BORROWED_TOWER
    return BORROWED_TOKENIZER if config.get("hf_tokenizer_name") else OWN_TEXT
