"""A model's folder from a hub, in open_clip's form or in transformers': its weights, and what its files say of them.

Shapes do not tell the activation, the width of attention heads or how images were normalised, so a folder's
configuration decides them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maclip_runtime.bundle.schema import read_json
from maclip_runtime.errors import MaclipError

OPEN_CLIP_CONFIG = "open_clip_config.json"
TRANSFORMERS_CONFIG = "config.json"
TRANSFORMERS_PREPROCESS = "preprocessor_config.json"
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)


@dataclass(frozen=True)
class HubFolder:
    """What a folder holds.

    weights: the checkpoint.
    model: open_clip's `model_cfg` that builds the model, None where the folder has no configuration.
    preprocess: mean, std and resize_mode, as far as the folder says.
    """

    weights: Path
    model: dict[str, Any] | None = None
    preprocess: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> HubFolder | None:
        """What is in `folder`, None where it holds no weights. Raises `checkpoint-unreadable`."""
        weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
        if weights is None:
            return None
        if (folder / OPEN_CLIP_CONFIG).is_file():
            config = _read(folder / OPEN_CLIP_CONFIG)
            model, preprocess = config.get("model_cfg"), config.get("preprocess_cfg") or {}
            if (model is not None and not isinstance(model, dict)) or not isinstance(preprocess, dict):
                raise _unreadable(folder / OPEN_CLIP_CONFIG, "model_cfg and preprocess_cfg are not objects")
            known = {key: preprocess[key] for key in ("mean", "std", "resize_mode") if key in preprocess}
            return cls(weights, model, known)
        if (folder / TRANSFORMERS_CONFIG).is_file():
            config = _read(folder / TRANSFORMERS_CONFIG)
            if config.get("model_type") == "clip":
                return cls(weights, _model_cfg(folder / TRANSFORMERS_CONFIG, config), _preprocess_cfg(folder))
            raise _unreadable(
                folder / TRANSFORMERS_CONFIG,
                f"it is of a model of type {config.get('model_type')!r}, and of transformers' models only clip is read",
            )
        return cls(weights)


def _model_cfg(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """open_clip's `model_cfg` of transformers' configuration of a CLIP."""
    try:
        # Older files keep the parts in *_config_dict; what a part leaves out is transformers' own default.
        vision = {**_VISION, **(config.get("vision_config_dict") or {}), **(config.get("vision_config") or {})}
        text = {**_TEXT, **(config.get("text_config_dict") or {}), **(config.get("text_config") or {})}
        acts = {vision["hidden_act"], text["hidden_act"]}
        if len(acts) > 1 or not acts <= {"quick_gelu", "gelu"}:
            raise _unreadable(path, f"its activations are {', '.join(sorted(acts))}; quick_gelu or gelu is needed")
        return {
            "embed_dim": int(config.get("projection_dim", 512)),
            "quick_gelu": acts == {"quick_gelu"},
            "vision_cfg": {
                "image_size": int(vision["image_size"]),
                "patch_size": int(vision["patch_size"]),
                "layers": int(vision["num_hidden_layers"]),
                "width": int(vision["hidden_size"]),
                "head_width": int(vision["hidden_size"]) // int(vision["num_attention_heads"]),
                "mlp_ratio": int(vision["intermediate_size"]) / int(vision["hidden_size"]),
            },
            "text_cfg": {
                "context_length": int(text["max_position_embeddings"]),
                "vocab_size": int(text["vocab_size"]),
                "layers": int(text["num_hidden_layers"]),
                "width": int(text["hidden_size"]),
                "heads": int(text["num_attention_heads"]),
                "mlp_ratio": int(text["intermediate_size"]) / int(text["hidden_size"]),
            },
        }
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise _unreadable(path, f"its sizes cannot be read ({error!r:.80})") from error


# transformers' defaults of CLIPVisionConfig and CLIPTextConfig: a file may leave them out.
_VISION = {
    "image_size": 224,
    "patch_size": 32,
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "quick_gelu",
}
_TEXT = {
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "num_hidden_layers": 12,
    "hidden_size": 512,
    "num_attention_heads": 8,
    "intermediate_size": 2048,
    "hidden_act": "quick_gelu",
}


def _preprocess_cfg(folder: Path) -> dict[str, Any]:
    path = folder / TRANSFORMERS_PREPROCESS
    if not path.is_file():
        return {}
    config = _read(path)
    found = {"mean": config.get("image_mean"), "std": config.get("image_std")}
    known = {key: value for key, value in found.items() if value is not None}
    return {**known, "resize_mode": "shortest" if config.get("do_center_crop", True) else "squash"}


def _read(path: Path) -> dict[str, Any]:
    try:
        config = read_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error).splitlines()[0][:200] or type(error).__name__) from error
    if not isinstance(config, dict):
        raise _unreadable(path, "it is no JSON object")
    return config


def _unreadable(path: Path, why: str) -> MaclipError:
    return MaclipError(
        "checkpoint-unreadable", f"{path} cannot be used: {why}.", "Download the model's folder again, whole."
    )


def local_config(model: dict[str, Any], folder: Path) -> Path:
    """Write `model` to `folder` as open_clip's "local-dir:" reads it; returns `folder`."""
    (folder / OPEN_CLIP_CONFIG).write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}), encoding="utf-8")
    return folder
