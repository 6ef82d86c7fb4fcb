"""A model's folder from a hub, in open_clip's form or in transformers': its weights, and what its files say of them.

Shapes do not tell the activation, the width of attention heads or how images were normalised, so a folder's
configuration decides them.
"""

from __future__ import annotations

import json
import logging
import math
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
    "open_clip_model.safetensors.index.json",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
)
RESIZE_MODES = ("shortest", "squash")
INTERPOLATION = "bicubic"  # of every picture here
TOKENS = 49_408  # of CLIP's own tokenizer

log = logging.getLogger("maclip")


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
            if model:
                _require_model(folder / OPEN_CLIP_CONFIG, model)
            return cls(weights, model or None, _view(folder / OPEN_CLIP_CONFIG, preprocess))
        if (folder / TRANSFORMERS_CONFIG).is_file():
            config = _read(folder / TRANSFORMERS_CONFIG)
            if config.get("model_type") == "clip":
                return cls(weights, _model_cfg(folder / TRANSFORMERS_CONFIG, config), _preprocess_cfg(folder))
            raise _unreadable(
                folder / TRANSFORMERS_CONFIG,
                f"it is of a model of type {config.get('model_type')!r}, and of transformers' models only clip is read",
            )
        return cls(weights)


def _require_model(path: Path, model: dict[str, Any]) -> None:
    """Refuse a `model_cfg` that builds no model, or one that fails at its first picture or name."""
    vision, text = model.get("vision_cfg"), model.get("text_cfg")
    if not isinstance(vision, dict) or not isinstance(text, dict):
        raise _unreadable(path, "vision_cfg and text_cfg are not both objects")
    if not isinstance(model.get("quick_gelu", False), bool):
        raise _unreadable(path, f"quick_gelu is {model['quick_gelu']!r:.40}, neither true nor false")
    for part in (vision, text):
        for key in ("width", "layers", "patch_size", "image_size", "head_width", "heads", "context_length"):
            sizes = part.get(key)
            for size in sizes if isinstance(sizes, list) else [sizes]:
                if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
                    raise _unreadable(path, f"{key} is {size!r:.40}, not a whole number of 1 or more")
    if text.get("embed_cls") and not model.get("custom_text") and not model.get("multimodal_cfg"):
        raise _unreadable(path, "text_cfg has embed_cls, which takes custom_text")
    named = text.get("hf_tokenizer_name") or text.get("hf_model_name")
    if not named and int(text.get("vocab_size", TOKENS)) < TOKENS:
        raise _unreadable(path, f"its text encoder knows {text['vocab_size']} tokens, CLIP's tokenizer makes {TOKENS}")


def _view(path: Path, preprocess: dict[str, Any]) -> dict[str, Any]:
    """Mean, std and resize mode, as far as `preprocess` says; what is None counts as not said."""
    found: dict[str, Any] = {}
    for key in ("mean", "std"):
        values = preprocess.get(key)
        if values is None:
            continue
        three = [values] * 3 if isinstance(values, (int, float)) else values
        good = isinstance(three, list) and len(three) == 3 and all(type(one) in (int, float) for one in three)
        if not good or not all(math.isfinite(one) and abs(one) < 1e6 and (key == "mean" or one > 0) for one in three):
            raise _unreadable(path, f"its {key} is {values!r:.60}, not three numbers that pixels can be scaled by")
        found[key] = three
    mode = preprocess.get("resize_mode")
    if mode is not None and mode not in RESIZE_MODES:
        raise _unreadable(path, f"its resize_mode is {mode!r:.40}; {' or '.join(RESIZE_MODES)} is needed")
    if preprocess.get("interpolation", INTERPOLATION) not in (INTERPOLATION, None):
        log.warning("%s asks for %s resizing: %s is used", path, preprocess["interpolation"], INTERPOLATION)
    return {**found, **({"resize_mode": mode} if mode is not None else {})}


def _model_cfg(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """open_clip's `model_cfg` of transformers' configuration of a CLIP."""
    try:
        # Older files keep the parts in *_config_dict; what a part leaves out is transformers' own default.
        vision = {**_VISION, **(config.get("vision_config_dict") or {}), **(config.get("vision_config") or {})}
        text = {**_TEXT, **(config.get("text_config_dict") or {}), **(config.get("text_config") or {})}
        acts = {vision["hidden_act"], text["hidden_act"]}
        if len(acts) > 1 or not acts <= {"quick_gelu", "gelu"}:
            raise _unreadable(path, f"its activations are {', '.join(sorted(acts))}; quick_gelu or gelu is needed")
        model: dict[str, Any] = {
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
        for key, part in (("vision_cfg", vision), ("text_cfg", text)):
            if part["layer_norm_eps"] != LAYER_NORM_EPS:
                model[key]["norm_kwargs"] = {"eps": float(part["layer_norm_eps"])}
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise _unreadable(path, f"its sizes cannot be read ({error!r:.80})") from error
    _require_model(path, model)
    return model


# transformers' defaults of CLIPVisionConfig and CLIPTextConfig: a file may leave them out.
LAYER_NORM_EPS = 1e-5
_VISION = {
    "layer_norm_eps": LAYER_NORM_EPS,
    "image_size": 224,
    "patch_size": 32,
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "quick_gelu",
}
_TEXT = {
    "layer_norm_eps": LAYER_NORM_EPS,
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
    if config.get("do_normalize") is False:
        found = {"mean": 0.0, "std": 1.0}
    return _view(path, {**found, "resize_mode": "shortest" if config.get("do_center_crop", True) else "squash"})


def _read(path: Path) -> dict[str, Any]:
    try:
        config = read_json(path.read_text(encoding="utf-8-sig"))
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
