"""Load the frozen CLIP model: a ViT of open_clip by name, with a pretrained tag, a local file or a local folder.

`tiny` is the small CLIP model that ships with this package, trained on generated images. The pretrained tag `none`
gives seeded random weights, for parameter counts, parity and speed.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, SimpleTokenizer
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from maclip.backbones.catalogue import FAMILIES, look_up
from maclip.backbones.checkpoints import OPENAI_EXTRAS, load_state, read_state
from maclip.backbones.cutting import cut_tower, frame_size
from maclip.backbones.hub_folder import local_config
from maclip.backbones.hub_tokenizer import HubTokenizer
from maclip.backbones.sources import RANDOM_WEIGHTS, Source, find_source, require_named
from maclip_runtime.errors import MaclipError, first_line
from maclip_runtime.reading.frames import Preprocess

TINY = "tiny"
TINY_DIR = Path(__file__).parents[1] / "tiny"
RANDOM_SEED = 0
IN_MEMORY = "in-memory"  # name and weights of a wrapped model
HUB = "hub"  # the name of a backbone whose folder says what it is

log = logging.getLogger("maclip")


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


def load_backbone(
    name: str, pretrained: str | Path = "openai", *, quick_gelu: bool | None = None, expected: str | None = None
) -> LoadedBackbone:
    """Load a CLIP model and freeze it.

    name: of an open_clip model, "tiny", or "hub" for whatever a model hub's folder says.
    pretrained: a tag of open_clip, a local file, a model hub's folder (weights, and optionally configuration and
        tokenizer), or "none" for random weights. Default "openai".
    quick_gelu: whether the weights of a bare file were trained with QuickGELU, which no tensor tells.
    expected: digest of a model that was loaded before; it decides what a bare file leaves open.
    Raises `backbone-unknown`, `backbone-unsupported`, `weights-unavailable`, `checkpoint-unreadable` and
    `checkpoint-mismatch`. `tokenizer-unavailable` is raised when the first name is encoded.
    """
    if not isinstance(name, str) or not isinstance(pretrained, (str, Path)):
        wrong, value = ("backbone", name) if not isinstance(name, str) else ("pretrained", pretrained)
        raise MaclipError("option-invalid", f"{wrong} cannot be {value!r:.60}.", "Give a text.")
    pretrained = str(pretrained)
    if name == TINY:
        return _load_tiny(pretrained)
    if name != HUB:
        _require_supported(name)
    source = find_source(name, pretrained)
    config = _config(name, source)
    state = {} if source.weights is None else read_state(source.weights)
    activation = _activation(config, source, state, quick_gelu)
    clip = _create(name, source, {**config, "quick_gelu": activation}, state)
    if expected is not None and source.model is None and state and clip_sha256(clip) != expected:
        other = _create(name, source, {**config, "quick_gelu": not activation}, state)
        clip = other if clip_sha256(other) == expected else clip
    elif quick_gelu is None and source.model is None and state and not _is_openai(state):
        log.warning(
            "%s does not say its activation: %s is assumed; see --quick-gelu",
            source.weights, "QuickGELU" if activation else "GELU",
        )  # fmt: skip
    clip.eval().requires_grad_(False)
    kept = pretrained if source.weights is None else str(Path(pretrained).resolve())
    tokenizer = _tokenizer(name, config["text_cfg"], source)
    return LoadedBackbone(clip, tokenizer, _preprocess(clip, name, source), name, kept, clip_sha256(clip))


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
            frame_size(clip.visual), _rgb(config["mean"]), _rgb(config["std"]), config.get("resize_mode") == "squash"
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


def _load_tiny(pretrained: str) -> LoadedBackbone:
    from maclip.tiny import tokenizer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        clip = _quietly(open_clip.create_model, f"local-dir:{TINY_DIR}", load_weights=pretrained != RANDOM_WEIGHTS)
    kept = TINY if pretrained == "openai" else pretrained
    if kept not in (RANDOM_WEIGHTS, TINY):
        source = find_source(TINY, pretrained)
        assert source.weights is not None
        load_state(clip, TINY, source.weights, read_state(source.weights))
        kept = str(Path(pretrained).resolve())
    clip.eval().requires_grad_(False)
    return LoadedBackbone(clip, tokenizer(), _preprocess(clip, TINY, Source()), TINY, kept, clip_sha256(clip))


def _require_supported(name: str) -> None:
    """Refuse a model that open_clip does not know or MA-CLIP does not support, before any download."""
    if name not in open_clip.list_models():
        near = difflib.get_close_matches(name, open_clip.list_models(), n=4, cutoff=0.5)
        raise MaclipError(
            "backbone-unknown",
            f"open_clip has no model {name!r}.",
            f"Use '{TINY}' or one of open_clip's models, such as {', '.join(near or ['ViT-B-32', 'ViT-B-16'])}; "
            "maclip backbones lists all supported models.",
        )
    found = look_up(name)
    if found.problem is not None:
        raise MaclipError(
            "backbone-unsupported",
            f"MA-CLIP does not support {name}: its image tower {found.problem}.",
            f"Use one of {FAMILIES}. maclip backbones lists their names: ViT-B-32, ViT-B-16, ViT-B-16-SigLIP2, ...",
        )


def _config(name: str, source: Source) -> dict[str, Any]:
    """The configuration of the model, in open_clip's form: of its folder, else of its name."""
    if name != HUB:
        require_named(name, source)
        return source.model or open_clip.get_model_config(name)
    if source.model is None:
        raise MaclipError(
            "weights-unavailable",
            "--backbone hub needs a folder with the model's configuration.",
            "Give a model hub's folder with --pretrained, or name the backbone.",
        )
    return source.model


def _activation(config: dict[str, Any], source: Source, state: dict[str, Tensor], asked: bool | None) -> bool:
    """Whether the model uses QuickGELU: as its files say, else as asked for, else as its name says."""
    if source.tag is not None:
        return bool(config.get("quick_gelu"))  # open_clip adds what the tag says
    if _is_openai(state):
        return True
    if source.model is None and asked is not None:
        return asked
    return bool(config.get("quick_gelu"))


def _is_openai(state: dict[str, Tensor]) -> bool:
    return bool(state) and all(key in state for key in OPENAI_EXTRAS)


def _create(name: str, source: Source, config: dict[str, Any], state: dict[str, Tensor]) -> Any:
    if source.tag is not None:
        quick_gelu = bool((open_clip.get_pretrained_cfg(name, source.tag) or {}).get("quick_gelu"))
        try:
            return _quietly(open_clip.create_model, name, source.tag, force_quick_gelu=quick_gelu)
        except (RuntimeError, OSError) as error:
            raise MaclipError(
                "weights-unavailable",
                f"The weights {source.tag!r} of {name} could not be downloaded ({first_line(error)}).",
                "Check the network, or give a local checkpoint with --pretrained FILE.",
            ) from error
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory(prefix="maclip-") as folder:
        torch.manual_seed(RANDOM_SEED)
        local = local_config(config, Path(folder))
        try:
            clip = _quietly(open_clip.create_model, f"local-dir:{local}", load_weights=False, pretrained_text=False)
            cut_tower(clip.visual)
        except ValueError as error:
            raise MaclipError(
                "backbone-unsupported",
                f"MA-CLIP does not support this model: its image tower {error}.",
                f"Use one of {FAMILIES}.",
            ) from error
        except Exception as error:  # what open_clip raises depends on the field
            if not config["text_cfg"].get("hf_model_name"):
                raise MaclipError(
                    "checkpoint-unreadable",
                    f"The configuration of {name} builds no model ({first_line(error)}).",
                    "Download the model's folder again, or give one that your version of open_clip builds.",
                ) from error
            raise MaclipError(
                "weights-unavailable",
                f"{name} needs a text encoder of a model hub, which is not available ({first_line(error)}).",
                "Install transformers and check the network, or use a backbone with its own text encoder.",
            ) from error
    if source.weights is not None:
        load_state(clip, name, source.weights, state)
    return clip


def _tokenizer(name: str, text: dict[str, Any], source: Source) -> Callable[[list[str]], Tensor]:
    if text.get("hf_tokenizer_name"):
        return HubTokenizer(name, text, source.folder)
    return SimpleTokenizer(context_length=int(text.get("context_length", DEFAULT_CONTEXT_LENGTH)))


def _preprocess(clip: Any, name: str, source: Source) -> Preprocess:
    """The preprocessing that the weights were trained with: from their tag, or the files beside them.

    For a bare file: what all tags of the model have in common, else open_clip's default.
    """
    config = dict(open_clip.get_model_preprocess_cfg(clip))
    if source.tag is None and name != TINY:
        config |= source.preprocess or _common_config(name, open_clip.list_pretrained_tags_by_model(name))
    squash = config.get("resize_mode") == "squash"
    return Preprocess.for_size(frame_size(clip.visual), _rgb(config["mean"]), _rgb(config["std"]), squash)


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
