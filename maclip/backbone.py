"""The frozen CLIP: any open_clip ViT by name and pretrained tag, or with the weights of a local file.

`tiny` is the small CLIP of a drawn world that ships with this package; `none` as pretrained gives seeded
random weights, for parameter counts, parity and speed, never for accuracy.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor

from maclip_runtime.errors import MaclipError
from maclip_runtime.frames import Preprocess

TINY = "tiny"
TINY_DIR = Path(__file__).parent / "tiny"
RANDOM_WEIGHTS = "none"
RANDOM_SEED = 0
# Tensors that OpenAI's archives hold beside the weights; they also mark weights trained with QuickGELU.
OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True)
class LoadedBackbone:
    """A frozen CLIP in evaluation mode with its tokenizer, its preparation of frames and its digest."""

    clip: Any  # open_clip.CLIP or CustomTextCLIP
    tokenizer: Callable[[list[str]], Tensor]
    preprocess: Preprocess
    name: str
    pretrained: str
    sha256: str


def load_backbone(name: str, pretrained: str = "openai") -> LoadedBackbone:
    """Load CLIP `name` with weights `pretrained`: a tag of open_clip, a local file, or "none" (random).

    Raises `backbone-unknown`, `backbone-unsupported`, `weights-unavailable`, `checkpoint-unreadable` and
    `checkpoint-mismatch`.
    """
    if name == TINY:
        clip, tokenizer = _tiny(pretrained)
        pretrained = RANDOM_WEIGHTS if pretrained == RANDOM_WEIGHTS else TINY
    else:
        clip = _create(name, pretrained)
        tokenizer = open_clip.get_tokenizer(name)
    _require_plain_vit(name, clip)
    clip.eval().requires_grad_(False)
    config = open_clip.get_model_preprocess_cfg(clip)
    size = clip.visual.image_size[0]
    mean = (config["mean"][0], config["mean"][1], config["mean"][2])
    std = (config["std"][0], config["std"][1], config["std"][2])
    preprocess = Preprocess.for_size(size, mean, std)
    return LoadedBackbone(clip, tokenizer, preprocess, name, pretrained, state_sha256(clip.state_dict()))


def state_sha256(state: dict[str, Tensor]) -> str:
    """A digest of named tensors as float32, whatever file or order they came from."""
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(f"{key}{tuple(state[key].shape)}".encode())
        digest.update(state[key].detach().cpu().float().contiguous().numpy().data)
    return digest.hexdigest()


def _tiny(pretrained: str) -> tuple[Any, Callable[[list[str]], Tensor]]:
    from maclip.tiny import tokenizer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        clip = _quietly(open_clip.create_model, f"local-dir:{TINY_DIR}", load_weights=pretrained != RANDOM_WEIGHTS)
    if pretrained not in (RANDOM_WEIGHTS, TINY, "openai"):
        _load_file(clip, TINY, Path(pretrained))
    return clip, tokenizer()


def _create(name: str, pretrained: str) -> Any:
    if name not in open_clip.list_models():
        vits = [model for model in open_clip.list_models() if model.startswith("ViT-")]
        near = difflib.get_close_matches(name, vits, n=4, cutoff=0.5) or ["ViT-B-32", "ViT-B-16", "ViT-L-14"]
        raise MaclipError(
            "backbone-unknown",
            f"open_clip has no model {name!r}.",
            f"Use '{TINY}' or one of open_clip's ViTs, such as {', '.join(near)}.",
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained in tags:
        quick_gelu = bool((open_clip.get_pretrained_cfg(name, pretrained) or {}).get("quick_gelu"))
        try:
            return _quietly(open_clip.create_model, name, pretrained, force_quick_gelu=quick_gelu)
        except (RuntimeError, OSError) as error:
            raise MaclipError(
                "weights-unavailable",
                f"The weights {pretrained!r} of {name} could not be downloaded ({_first_line(error)}).",
                "Check the network, or pass --pretrained FILE with a checkpoint that you have.",
            ) from error
    if pretrained == RANDOM_WEIGHTS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_SEED)
            return _quietly(open_clip.create_model, name)
    path = Path(pretrained)
    if not path.is_file():
        raise MaclipError(
            "weights-unavailable",
            f"{pretrained!r} is neither a pretrained tag of {name} nor a file.",
            f"Tags: {', '.join(tags) or 'none'}; or give the path of a checkpoint, or 'none' for random weights.",
        )
    state = _read_state(path)
    quick_gelu = all(key in state for key in OPENAI_EXTRAS)
    clip = _quietly(open_clip.create_model, name, force_quick_gelu=quick_gelu)
    _load_state(clip, name, path, state)
    return clip


def _load_file(clip: Any, name: str, path: Path) -> None:
    if not path.is_file():
        raise MaclipError("weights-unavailable", f"There is no file {path}.", "Give the path of a checkpoint.")
    _load_state(clip, name, path, _read_state(path))


def _read_state(path: Path) -> dict[str, Tensor]:
    """The named tensors of a checkpoint: safetensors, a state dict, a training checkpoint, OpenAI's archive."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = _read_torch_file(path)
    except Exception as error:
        raise MaclipError(
            "checkpoint-unreadable",
            f"{path} could not be read as a checkpoint ({_first_line(error)}).",
            "Give a .safetensors file, or a .pt file that holds a state dict.",
        ) from error
    for nested in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(nested), dict):
            state = state[nested]
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise MaclipError("checkpoint-unreadable", f"{path} holds no state dict.", "Save model.state_dict().")
    return {key.removeprefix("module."): value for key, value in state.items()}


def _read_torch_file(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenAI's own files are TorchScript: known, and meant here
        try:
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
        except RuntimeError as error:
            if "TorchScript" not in str(error):
                raise
            loaded = torch.jit.load(str(path), map_location="cpu")
    return loaded.state_dict() if isinstance(loaded, torch.jit.ScriptModule) else loaded


def _load_state(clip: Any, name: str, path: Path, state: dict[str, Tensor]) -> None:
    state = {key: value.float() for key, value in state.items() if key not in OPENAI_EXTRAS}
    own = clip.state_dict()
    if "text.positional_embedding" in own and "positional_embedding" in state:
        state = open_clip.model.convert_to_custom_text_state_dict(state)
    elif "positional_embedding" in own and "text.positional_embedding" in state:
        state = {key.removeprefix("text."): value for key, value in state.items()}
    missing = sorted(set(own) - set(state))
    extra = sorted(set(state) - set(own))
    shapes = [k for k in own if k in state and own[k].shape != state[k].shape and own[k].numel() != state[k].numel()]
    if missing or extra or shapes:
        what = (
            f"{shapes[0]} has shape {list(state[shapes[0]].shape)} where {list(own[shapes[0]].shape)} is needed"
            if shapes
            else f"{len(missing)} tensors are missing and {len(extra)} unknown, such as {(missing + extra)[0]}"
        )
        raise MaclipError(
            "checkpoint-mismatch",
            f"{path} does not fit the backbone {name}: {what}.",
            "Name the backbone that the checkpoint was trained as, with --backbone.",
        )
    clip.load_state_dict({key: value.reshape(own[key].shape) for key, value in state.items()})


def _require_plain_vit(name: str, clip: Any) -> None:
    visual = clip.visual
    plain = (
        isinstance(visual, VisionTransformer)
        and visual.attn_pool is None
        and visual.pool_type == "tok"
        and visual.image_size[0] == visual.image_size[1]
        and all(type(block) is ResidualAttentionBlock for block in visual.transformer.resblocks)
    )
    if not plain:
        raise MaclipError(
            "backbone-unsupported",
            f"{name} is not a plain ViT with a class token, which the adapted block is made for.",
            "Use one of open_clip's ViTs: ViT-B-32, ViT-B-16, ViT-L-14, ViT-H-14 and their variants.",
        )


def _quietly(create: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """open_clip warns of what is meant here (random weights, a local folder): keep it off the user's screen."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    try:
        return create(*args, **kwargs)
    finally:
        root.setLevel(level)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
