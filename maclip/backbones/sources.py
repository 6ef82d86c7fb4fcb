"""Where a backbone's weights come from: a tag of open_clip, a checkpoint file, or a model hub's folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip

from maclip.backbones.hub_folder import WEIGHTS, HubFolder
from maclip_runtime.errors import MaclipError

RANDOM_WEIGHTS = "none"
# Sizes that make a model what its name says; the rest of a folder's configuration may differ from the name's.
_SIZES = ("width", "layers", "patch_size")


@dataclass(frozen=True)
class Source:
    """What `--pretrained` names.

    tag: of open_clip, None for a file or folder.
    weights: the checkpoint file, None for a tag or random weights.
    model: the model's configuration in open_clip's form, None where nothing beside the weights says it.
    preprocess: mean, std and resize mode, as far as known beside the weights.
    """

    tag: str | None = None
    weights: Path | None = None
    model: dict[str, Any] | None = None
    preprocess: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path | None:
        """The folder of the checkpoint, which may hold a tokenizer."""
        return None if self.weights is None else self.weights.parent


def find_source(name: str, pretrained: str) -> Source:
    """What `pretrained` is for the model `name`. Raises `weights-unavailable`, `checkpoint-unreadable`.

    The configuration files beside a checkpoint file count as those of its folder do: one model has one meaning, however
    it is named.
    """
    if pretrained == RANDOM_WEIGHTS:
        return Source()
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained in tags:
        return Source(tag=pretrained)
    path = Path(pretrained)
    folder = _is_there(path) and path.is_dir()
    if folder:
        found = HubFolder.open(path)
        if found is not None:
            return Source(None, found.weights, found.model, found.preprocess)
    elif _is_there(path) and path.is_file():
        beside = HubFolder.open(path.parent) if path.name in WEIGHTS else None
        if beside is not None:
            return Source(None, path, beside.model, beside.preprocess)
        return Source(weights=path)
    what = f"a folder with {' or '.join(WEIGHTS)}" if folder else "a file"
    raise MaclipError(
        "weights-unavailable",
        f"{pretrained!r:.200} is neither a pretrained tag of {name} nor {what}.",
        f"Use one of its tags ({', '.join(tags) or 'none'}), the path of a checkpoint, or 'none' for random weights.",
    )


def _is_there(path: Path) -> bool:
    """Whether `path` exists. What is no name of a file, such as a very long one, does not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def require_named(name: str, source: Source) -> None:
    """Raise `checkpoint-mismatch` where a folder's configuration is of another model than `name`."""
    named = open_clip.get_model_config(name)
    if named is None or source.model is None:
        return
    wanted, found = _core(named), _core(source.model)
    for key, value in wanted.items():
        if value is not None and found[key] is not None and value != found[key]:
            raise MaclipError(
                "checkpoint-mismatch",
                f"{source.folder} is of a model with {key} {found[key]}, not of {name}, which has {value}.",
                "Give the backbone that it belongs to with --backbone, or --backbone hub to go by its configuration.",
            )


def _core(config: dict[str, Any]) -> dict[str, Any]:
    vision = config.get("vision_cfg") or {}
    return {"embed_dim": config.get("embed_dim"), **{key: vision.get(key) for key in _SIZES}}
