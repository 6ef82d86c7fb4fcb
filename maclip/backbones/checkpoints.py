"""Read the weights of a CLIP model from a checkpoint file, with an error for everything that can be wrong with one."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from maclip_runtime.errors import MaclipError, first_line

# Tensors that OpenAI checkpoints hold beside the weights. They indicate that the model was trained with QuickGELU.
OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")
# Names of the weight files in a model hub's folder of an open_clip model.
HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def find_weights(path: Path) -> Path | None:
    """The checkpoint file: `path` itself, or the weights in it if it is a model hub's folder; None if there is none."""
    if path.is_dir():
        return next((path / name for name in HUB_FILES if (path / name).is_file()), None)
    return path if path.is_file() else None


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint: safetensors, a state dict, a training checkpoint, or OpenAI's TorchScript.

    Raises `checkpoint-unreadable`.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = _read_torch_file(path)
    except Exception as error:
        raise MaclipError(
            "checkpoint-unreadable",
            f"{path} could not be read as a checkpoint ({first_line(error)}).",
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
        warnings.simplefilter("ignore")  # about OpenAI's files, which are TorchScript
        try:
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
        except RuntimeError as error:
            if "TorchScript" not in str(error):
                raise
            loaded = torch.jit.load(str(path), map_location="cpu")
    return loaded.state_dict() if isinstance(loaded, torch.jit.ScriptModule) else loaded


def load_state(clip: Any, name: str, path: Path, state: dict[str, Tensor]) -> None:
    """Load `state`, which `read_state` read from `path`, into the model `name`. Raises `checkpoint-mismatch`."""
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
            f"{shapes[0]} has shape {list(state[shapes[0]].shape)} where {list(own[shapes[0]].shape)} is expected"
            if shapes
            else f"{len(missing)} tensors are missing and {len(extra)} unexpected, such as {(missing + extra)[0]}"
        )
        raise MaclipError(
            "checkpoint-mismatch",
            f"{path} does not fit the backbone {name}: {what}.",
            "Give the backbone that the checkpoint belongs to with --backbone.",
        )
    clip.load_state_dict({key: value.reshape(own[key].shape) for key, value in state.items()})
