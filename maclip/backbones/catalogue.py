"""Which open_clip models MA-CLIP supports, found by building their image towers on the meta device."""

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

from maclip.backbones.cutting import cut_tower, frame_size
from maclip.backbones.image_towers import FrozenTower

# A summary for messages; `maclip backbones` lists the names, and a test keeps both consistent.
FAMILIES = (
    "open_clip's ViT models (CLIP, SigLIP, SigLIP 2, CLIPA, CoCa, ViTamin, MobileCLIP's B and L), or, but not with "
    "--adapters blocks, EVA, Perception Encoder, MobileCLIP's S, ConvNeXt and ResNet"
)
OWN_TEXT, HUB_TOKENIZER, HUB_ENCODER = "own", "hub tokenizer", "hub encoder"


@dataclass(frozen=True)
class Entry:
    """One open_clip model.

    name: in open_clip.
    tags: pretrained weights that open_clip knows.
    text: source of tokenizer and text encoder: "own", or "hub tokenizer" or "hub encoder" (from a model hub).
    problem: why MA-CLIP does not support the model; None if it does. The figures below are None if it does not.
    size: side of the input, px.
    blocks: blocks of the image tower that are read.
    tokens: tokens of a frame (N + 1), or places of a convolutional tower's last stage.
    width, feature_width: D (after the last block) and D'.
    class_token: whether a class token represents a frame, rather than the mean of its patches.
    adaptable: whether the paper's adapters fit its blocks; a ladder, the default, fits all.
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
    adaptable: bool | None = None


def catalogue(progress: Callable[[int, int], None] | None = None) -> list[Entry]:
    """An entry for each open_clip model, in its order. Takes some seconds.

    progress: called with (models done, models).
    """
    names = open_clip.list_models()
    found = []
    for done, name in enumerate(names, 1):
        found.append(look_up(name))
        if progress:
            progress(done, len(names))
    return found


def look_up(name: str) -> Entry:
    """The entry of the open_clip model `name`."""
    config = open_clip.get_model_config(name)
    tags, text = tuple(open_clip.list_pretrained_tags_by_model(name)), _text_source(config["text_cfg"])
    try:
        tower, size = _meta_tower(json.dumps(config["vision_cfg"]), config["embed_dim"])
    except ValueError as reason:
        return Entry(name, tags, text, str(reason))
    figures = size, len(tower.read_widths) - 1, tower.read_rows, tower.read_widths[-1], tower.feature_width
    return Entry(name, tags, text, None, *figures, tower.mean_from is None, bool(tower.blocks))


class _SkipInitialization(TorchFunctionMode):
    """Skips the initialization of tensors: on the meta device it has no effect but takes a minute."""

    SKIPPED = frozenset(["add_", "clamp_", "copy_", "div_", "erfinv_", "fill_", "mul_", "normal_", "uniform_", "zero_"])

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in self.SKIPPED:
            return args[0] if args else kwargs["tensor"]  # torch.nn.init passes the tensor by keyword
        return func(*args, **(kwargs or {}))


@cache
def _meta_tower(vision: str, feature_width: int) -> tuple[FrozenTower, int]:
    """The image tower of a vision config (JSON) on the meta device, and the side of its input in px."""
    with torch.device("meta"), _SkipInitialization():
        visual = _build_vision_tower(feature_width, CLIPVisionCfg(**json.loads(vision)))
    return cut_tower(visual), frame_size(visual)


def _text_source(config: dict[str, Any]) -> str:
    if config.get("hf_model_name"):
        return HUB_ENCODER
    return HUB_TOKENIZER if config.get("hf_tokenizer_name") else OWN_TEXT
