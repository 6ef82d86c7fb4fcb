"""Names of a CLIP's tensors in public checkpoints, brought to open_clip's names."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

import torch
from torch import Tensor

COMPILED = "_orig_mod."  # what torch.compile puts before the names of a module
SCALE = "logit_scale"  # every CLIP has one, at its top
TRANSFORMERS_MARK = "vision_model.embeddings.class_embedding"
SKIPPED = re.compile(r".*\.position_ids")  # a buffer of transformers that holds no weight

log = logging.getLogger("maclip")

_WHOLE = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",  # transformers spells it so
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
}
_TRANSPOSED = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
_TOWERS = {"text_model": "transformer", "vision_model": "visual.transformer"}
_PARTS = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_LAYER = re.compile(r"(text_model|vision_model)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_QUERY = re.compile(r"self_attn\.q_proj")


def without_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` without what wrappers put before the names of a CLIP: "module.module.visual.proj" -> "visual.proj".

    What lies beside the CLIP, such as the weights of a loss, is left out, which is logged.
    """
    found = {name.replace(COMPILED, ""): tensor for name, tensor in state.items()}
    prefixes = {name.removesuffix(SCALE) for name in found if name == SCALE or name.endswith(f".{SCALE}")}
    if len(prefixes) != 1 or prefixes == {""}:
        return found
    prefix = prefixes.pop()
    beside = [name for name in found if not name.startswith(prefix)]
    if beside:
        log.warning("%d tensors beside %s are left out, %s first", len(beside), prefix.rstrip("."), beside[0])
    return {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}


def is_transformers(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of transformers' CLIP."""
    return TRANSFORMERS_MARK in state


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of transformers' CLIP under open_clip's names; what is not known keeps its name."""
    made: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if SKIPPED.fullmatch(name) or "self_attn.k_proj" in name or "self_attn.v_proj" in name:
            continue
        layer = _LAYER.fullmatch(name)
        if name in _WHOLE:
            made[_WHOLE[name]] = tensor
        elif name in _TRANSPOSED:
            made[_TRANSPOSED[name]] = tensor.T.contiguous()
        elif layer is None:
            made[name] = tensor
        else:
            tower, number, part, kind = layer.groups()
            block = f"{_TOWERS[tower]}.resblocks.{number}"
            if part == "self_attn.q_proj":
                three = [state[_QUERY.sub(f"self_attn.{one}_proj", name)] for one in "qkv"]
                made[f"{block}.attn.in_proj_{kind}"] = torch.cat(three)
            else:
                made[f"{block}.{_PARTS.get(part, part)}.{kind}"] = tensor
    return made
