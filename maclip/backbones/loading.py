"""Load the frozen CLIP model: a ViT of open_clip by name, with a pretrained tag, a local file or a local folder.

`tiny` is the small CLIP model that ships with this package, trained on generated images. The pretrained tag `none`
gives seeded random weights, for parameter counts, parity and speed.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from maclip.backbones.catalogue import FAMILIES, HUB_ENCODER, OWN_TEXT, look_up
from maclip.backbones.checkpoints import HUB_FILES, OPENAI_EXTRAS, find_weights, load_state, read_state
from maclip.backbones.hub_tokenizer import HubTokenizer
from maclip.backbones.image_towers import cut_tower
from maclip_runtime.errors import MaclipError, first_line
from maclip_runtime.reading.frames import Preprocess

TINY = "tiny"
TINY_DIR = Path(__file__).parents[1] / "tiny"
RANDOM_WEIGHTS = "none"
RANDOM_SEED = 0
IN_MEMORY = "in-memory"  # name and weights of a wrapped model
HUB_CONFIG_FILE = "open_clip_config.json"  # beside the weights in a model hub's folder


@dataclass(frozen=True)
class LoadedBackbone:
    """A frozen CLIP model in evaluation mode.

    clip: open_clip's CLIP or CustomTextCLIP.
    tokenizer: prompts -> tokens int64 [n, context length].
    preprocess: how frames are resized, cropped and normalised.
    name: of the model in open_clip, or "tiny".
    pretrained: tag of its weights, or the absolute path of a file or folder.
    sha256: digest, see `clip_sha256`.
    """

    clip: Any
    tokenizer: Callable[[list[str]], Tensor]
    preprocess: Preprocess
    name: str
    pretrained: str
    sha256: str


def load_backbone(name: str, pretrained: str = "openai") -> LoadedBackbone:
    """Load a CLIP model and freeze it.

    name: of an open_clip model, or "tiny".
    pretrained: a tag of open_clip, a local file, a model hub's folder (weights, and optionally configuration and
        tokenizer), or "none" for random weights. Default "openai".
    Raises `backbone-unknown`, `backbone-unsupported`, `weights-unavailable`, `checkpoint-unreadable` and
    `checkpoint-mismatch`. `tokenizer-unavailable` is raised when the first name is encoded.
    """
    tokenizer: Callable[[list[str]], Tensor]
    if name == TINY:
        clip, tokenizer = _load_tiny(pretrained)
        pretrained = TINY if pretrained == "openai" else pretrained
    else:
        text = _require_supported(name)
        clip = _create(name, pretrained, text == HUB_ENCODER)
        tokenizer = open_clip.get_tokenizer(name) if text == OWN_TEXT else HubTokenizer(name, _folder(pretrained))
    clip.eval().requires_grad_(False)
    preprocess = _preprocess(clip, name, pretrained)
    return LoadedBackbone(clip, tokenizer, preprocess, name, _absolute(name, pretrained), clip_sha256(clip))


def wrap_backbone(
    clip: Any, tokenizer: Callable[[list[str]], Tensor], preprocess: Any = None, *, name: str = IN_MEMORY
) -> LoadedBackbone:
    """Wrap an open_clip model that is in memory, and freeze it in place.

    clip: open_clip's CLIP or CustomTextCLIP.
    tokenizer: prompts -> tokens int64 [n, context length], from `open_clip.get_tokenizer`.
    preprocess: open_clip's evaluation transform, from which mean, std and resizing are read, or a `Preprocess`;
        default: the preprocess configuration of the model.
    name: used in errors and runs.
    Raises `backbone-unsupported`.
    """
    try:
        cut_tower(clip.visual)
    except (ValueError, AttributeError) as error:
        raise MaclipError(
            "backbone-unsupported",
            f"MA-CLIP does not support this model: its image tower {error}.",
            f"Use one of {FAMILIES}.",
        ) from error
    clip.eval().requires_grad_(False)
    if not isinstance(preprocess, Preprocess):
        config = dict(open_clip.get_model_preprocess_cfg(clip)) | _transform_config(preprocess)
        preprocess = Preprocess.for_size(
            clip.visual.image_size[0], _rgb(config["mean"]), _rgb(config["std"]), config.get("resize_mode") == "squash"
        )
    return LoadedBackbone(clip, tokenizer, preprocess, name, IN_MEMORY, clip_sha256(clip))


def clip_sha256(clip: nn.Module, state: dict[str, Tensor] | None = None) -> str:
    """A digest of a CLIP model, as hex: of its tensors, and whether it uses QuickGELU.

    state: tensors to use instead of the model's own.
    With GELU instead of QuickGELU, the same tensors are another model.
    """
    digest = state_sha256(clip.state_dict() if state is None else state)
    if any(isinstance(module, QuickGELU) for module in clip.modules()):
        return hashlib.sha256(f"QuickGELU {digest}".encode()).hexdigest()
    return digest


def state_sha256(state: dict[str, Tensor]) -> str:
    """A digest of named tensors as float32, independent of their order and of the file format."""
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(f"{key}{tuple(state[key].shape)}".encode())
        digest.update(state[key].detach().cpu().float().contiguous().numpy().data)
    return digest.hexdigest()


def _load_tiny(pretrained: str) -> tuple[Any, Callable[[list[str]], Tensor]]:
    from maclip.tiny import tokenizer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        clip = _quietly(open_clip.create_model, f"local-dir:{TINY_DIR}", load_weights=pretrained != RANDOM_WEIGHTS)
    if pretrained not in (RANDOM_WEIGHTS, TINY, "openai"):
        path = _require_file(TINY, pretrained, (TINY,))
        load_state(clip, TINY, path, read_state(path))
    return clip, tokenizer()


def _require_supported(name: str) -> str:
    """Refuse an unsupported model before any download; returns the source of its text encoder (`Entry.text`)."""
    if name not in open_clip.list_models():
        near = difflib.get_close_matches(name, open_clip.list_models(), n=4, cutoff=0.5)
        raise MaclipError(
            "backbone-unknown",
            f"open_clip has no model {name!r}.",
            f"Use '{TINY}' or one of open_clip's ViTs, such as {', '.join(near or ['ViT-B-32', 'ViT-B-16'])}; "
            "maclip backbones lists all supported models.",
        )
    found = look_up(name)
    if found.problem is not None:
        raise MaclipError(
            "backbone-unsupported",
            f"MA-CLIP does not support {name}: its image tower {found.problem}.",
            f"Use one of {FAMILIES}. maclip backbones lists their names: ViT-B-32, ViT-B-16, ViT-B-16-SigLIP2, ...",
        )
    return found.text


def _create(name: str, pretrained: str, hub_encoder: bool) -> Any:
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained in tags:
        quick_gelu = bool((open_clip.get_pretrained_cfg(name, pretrained) or {}).get("quick_gelu"))
        try:
            return _quietly(open_clip.create_model, name, pretrained, force_quick_gelu=quick_gelu)
        except (RuntimeError, OSError) as error:
            raise MaclipError(
                "weights-unavailable",
                f"The weights {pretrained!r} of {name} could not be downloaded ({first_line(error)}).",
                "Check the network, or give a local checkpoint with --pretrained FILE.",
            ) from error
    state: dict[str, Tensor] = {}
    if pretrained != RANDOM_WEIGHTS:
        path = _require_file(name, pretrained, tags)
        state = read_state(path)
    quick_gelu = bool(state) and all(key in state for key in OPENAI_EXTRAS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        try:
            clip = _quietly(open_clip.create_model, name, force_quick_gelu=quick_gelu, pretrained_text=False)
        except (RuntimeError, OSError, ImportError, AttributeError) as error:
            if not hub_encoder:
                raise
            raise MaclipError(
                "weights-unavailable",
                f"{name} needs a text encoder of a model hub, which is not available ({first_line(error)}).",
                "Install transformers and check the network, or use a backbone with its own text encoder.",
            ) from error
    if state:
        load_state(clip, name, path, state)
    return clip


def _require_file(name: str, pretrained: str, tags: tuple[str, ...] | list[str]) -> Path:
    path = find_weights(Path(pretrained))
    if path is not None:
        return path
    what = f"a folder with {' or '.join(HUB_FILES)}" if Path(pretrained).is_dir() else "a file"
    raise MaclipError(
        "weights-unavailable",
        f"{pretrained!r} is neither a pretrained tag of {name} nor {what}.",
        f"Use one of its tags ({', '.join(tags) or 'none'}), the path of a checkpoint, or 'none' for random weights.",
    )


def _absolute(name: str, pretrained: str) -> str:
    """A path made absolute, so that a run finds it from any working directory; a tag unchanged."""
    tag = pretrained in (RANDOM_WEIGHTS, TINY, *open_clip.list_pretrained_tags_by_model(name))
    return pretrained if tag else str(Path(pretrained).resolve())


def _folder(pretrained: str) -> Path | None:
    """The folder that may hold further files of a model hub: the given folder, or that of the given file."""
    path = find_weights(Path(pretrained))
    return None if path is None else path.parent


def _preprocess(clip: Any, name: str, pretrained: str) -> Preprocess:
    """The preprocessing that the weights were trained with: from their tag, or the config file beside them.

    For a file without a config file: what all tags of the model have in common, else open_clip's default.
    """
    config = dict(open_clip.get_model_preprocess_cfg(clip))
    tags = open_clip.list_pretrained_tags_by_model(name)
    if name != TINY and pretrained not in tags:
        config |= _hub_config(_folder(pretrained)) or _common_config(name, tags)
    squash = config.get("resize_mode") == "squash"
    return Preprocess.for_size(clip.visual.image_size[0], _rgb(config["mean"]), _rgb(config["std"]), squash)


def _rgb(values: Any) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _transform_config(transform: Any) -> dict[str, Any]:
    """Mean, std and resize mode of a torchvision transform; empty for None."""
    found: dict[str, Any] = {}
    steps = list(getattr(transform, "transforms", ()))
    for step in steps:
        if hasattr(step, "mean") and hasattr(step, "std"):
            found |= {"mean": step.mean, "std": step.std}
    if steps:  # with a crop, the short side was resized
        crops = any("Crop" in type(step).__name__ for step in steps)
        found["resize_mode"] = "shortest" if crops else "squash"
    return found


def _hub_config(folder: Path | None) -> dict[str, Any]:
    if folder is None or not (folder / HUB_CONFIG_FILE).is_file():
        return {}
    try:
        found = json.loads((folder / HUB_CONFIG_FILE).read_text(encoding="utf-8")).get("preprocess_cfg", {})
        return {key: found[key] for key in ("mean", "std", "resize_mode") if key in found}
    except (ValueError, AttributeError, TypeError) as error:
        raise MaclipError(
            "checkpoint-unreadable",
            f"{folder / HUB_CONFIG_FILE} could not be read ({first_line(error)}).",
            "Download the folder again, or delete that file.",
        ) from error


def _common_config(name: str, tags: list[str]) -> dict[str, Any]:
    """Mean, std and resize mode of all tags of a model; empty if the tags differ."""
    configs = [open_clip.get_pretrained_cfg(name, tag) for tag in tags]
    views = [{key: one[key] for key in ("mean", "std", "resize_mode") if one.get(key)} for one in configs]
    return views[0] if views and all(view == views[0] for view in views) else {}


def _quietly(create: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call `create` without open_clip's warnings about random weights and local folders, which are intended here."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    try:
        return create(*args, **kwargs)
    finally:
        root.setLevel(level)
