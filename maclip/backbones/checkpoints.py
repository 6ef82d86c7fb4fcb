"""Read the weights of a CLIP model from a checkpoint file, with an error for everything that can be wrong with one."""

from __future__ import annotations

import logging
import math
import warnings
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from maclip.backbones.cutting import frame_size
from maclip.backbones.tensor_names import from_transformers, is_transformers, without_wrappers
from maclip_runtime.bundle.schema import read_json
from maclip_runtime.errors import MaclipError, first_line

log = logging.getLogger("maclip")

# Tensors that OpenAI checkpoints hold beside the weights. They indicate that the model was trained with QuickGELU.
OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")
# Where training scripts keep the state dict in their checkpoints.
NESTED = ("state_dict", "model", "model_state_dict", "module")
MAX_NESTED = 8
INDEX_SUFFIX = ".index.json"  # of a checkpoint in several files
POSITIONS = "visual.positional_embedding"


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint: safetensors, a state dict, a training checkpoint, or OpenAI's TorchScript.

    Raises `checkpoint-unreadable`.
    """
    try:
        state: Any = _read_shards(path) if path.name.endswith(INDEX_SUFFIX) else _read_file(path)
    except Exception as error:
        raise MaclipError(
            "checkpoint-unreadable",
            f"{path} could not be read as a checkpoint ({first_line(error)}).",
            "Give a .safetensors file, or a .pt file that holds a state dict.",
        ) from error
    state = _unnested(state)
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise MaclipError("checkpoint-unreadable", f"{path} holds no state dict.", "Save model.state_dict().")
    for key, value in state.items():
        if not isinstance(key, str) or value.is_meta or value.is_quantized or value.layout != torch.strided:
            raise MaclipError(
                "checkpoint-unreadable",
                f"{path} holds tensors that are no plain weights, first {key!r:.80}.",
                "Save model.state_dict() of a model that is in memory, neither quantized nor sparse.",
            )
    state = without_wrappers(state)
    return from_transformers(state) if is_transformers(state) else state


def _unnested(state: Any) -> Any:
    """The innermost dictionary under the names of `NESTED`."""
    for _ in range(MAX_NESTED):
        inner = (state[name] for name in NESTED if isinstance(state.get(name), dict)) if isinstance(state, dict) else ()
        found = next(iter(inner), None)
        if found is None:
            return state
        state = found
    return None


def _read_shards(index: Path) -> dict[str, Any]:
    """The tensors of a checkpoint in several files, which lie beside their `index`."""
    files = read_json(index.read_text(encoding="utf-8"))["weight_map"]
    state: dict[str, Any] = {}
    for name in sorted(set(files.values())):
        if Path(name).name != name:
            raise ValueError(f"its part {name!r} is not a file beside it")
        state |= _read_file(index.parent / name)
    if missing := sorted(set(files) - set(state)):
        raise ValueError(f"its parts lack {len(missing)} tensors, {missing[0]} first")
    return state


def _read_file(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return _read_torch_file(path)


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
    """Load `state`, which `read_state` read from `path`, into the model `name`.

    Position embeddings of another image size are resampled, which is logged. Raises `checkpoint-mismatch`, and
    `checkpoint-unreadable` for weights that are NaN or infinite.
    """
    state = {key: value for key, value in state.items() if key not in OPENAI_EXTRAS}
    own = clip.state_dict()
    if "text.positional_embedding" in own and "positional_embedding" in state:
        state = open_clip.model.convert_to_custom_text_state_dict(state)
    elif "positional_embedding" in own and "text.positional_embedding" in state:
        state = {key.removeprefix("text."): value for key, value in state.items()}
    _require_weights(path, state, own)
    state = {key: value.float() for key, value in state.items()}
    _require_finite(path, state)
    _resample_positions(clip, path, state)
    missing = sorted(set(own) - set(state))
    extra = sorted(set(state) - set(own))
    # Some libraries write a scalar as [1]; any other difference would load numbers into the wrong places.
    shapes = [key for key in own if key in state and _squeezed(own[key]) != _squeezed(state[key])]
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


def _squeezed(tensor: Tensor) -> list[int]:
    return [size for size in tensor.shape if size != 1]


def _require_weights(path: Path, state: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Refuse whole numbers where the model has fractions: quantized weights need scales that no model here has."""
    for key, value in state.items():
        if key in own and own[key].is_floating_point() and not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            raise MaclipError(
                "checkpoint-mismatch",
                f"{path} holds numbers of type {kind} for weights, first in {key}.",
                "Give the checkpoint in float32, float16 or bfloat16.",
            )


def _require_finite(path: Path, state: dict[str, Tensor]) -> None:
    for key, value in state.items():
        if not bool(torch.isfinite(value).all()):
            raise MaclipError(
                "checkpoint-unreadable",
                f"{path} holds NaN or infinite values, first in {key}.",
                "Download the checkpoint again, or use an earlier one of its training.",
            )


def _resample_positions(clip: Any, path: Path, state: dict[str, Tensor]) -> None:
    """Resample the image tower's position embeddings in place if the checkpoint has another image size."""
    own = clip.state_dict().get(POSITIONS)
    given = state.get(POSITIONS)
    if own is None or given is None or own.ndim != 2 or given.ndim != 2:
        return
    if own.shape == given.shape or own.shape[1] != given.shape[1] or not len(given):
        return
    before, after = (math.isqrt(len(positions) - 1) for positions in (given, own))
    if before**2 != len(given) - 1 or after**2 != len(own) - 1:
        return  # no square grid and a class token: reported as a mismatch
    open_clip.model.resize_pos_embed(state, clip)
    log.warning(
        "%s has position embeddings for %d x %d patches: they were resampled to %d x %d, for images of %d px",
        path, before, before, after, after, frame_size(clip.visual),
    )  # fmt: skip
