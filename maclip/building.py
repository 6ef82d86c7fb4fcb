"""Models by name, from memory, or from a run: what a researcher begins with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from maclip.adapters import refuse_foreign_options
from maclip.backbones.loading import IN_MEMORY, load_backbone, wrap_backbone
from maclip.config import ModelConfig
from maclip.model.maclip import MaClip
from maclip.runs import Run


def build(
    backbone: str = "ViT-B-16",
    pretrained: str = "openai",
    *,
    quick_gelu: bool | None = None,
    config: ModelConfig | None = None,
    **options: Any,
) -> MaClip:
    """A new, untrained model in evaluation mode.

    backbone: a ViT of open_clip by name, "tiny", or "hub" for whatever a model hub's folder says.
    pretrained: a tag of open_clip, the path of a checkpoint or of a model hub's folder, or "none" for random weights.
    quick_gelu: activation of a checkpoint that does not say it; default: as the backbone's name says.
    config: what is chosen beside the backbone; default: a ladder, and the paper's prototype module.
    options: single options of `ModelConfig` by name, such as `adapters="blocks"`, the paper's adapters.
    Raises `option-invalid`, `depth-invalid` and what `load_backbone` raises.
    """
    chosen = (config or ModelConfig()).changed(**options)
    refuse_foreign_options(chosen.adapters)  # before weights are downloaded
    return MaClip(load_backbone(backbone, pretrained, quick_gelu=quick_gelu), chosen).eval()


def wrap(
    clip: Any,
    tokenizer: Callable[[list[str]], Tensor],
    preprocess: Any = None,
    *,
    name: str = IN_MEMORY,
    config: ModelConfig | None = None,
    **options: Any,
) -> MaClip:
    """A new, untrained model around an open_clip model that is in memory already, which is frozen in place.

    clip, tokenizer, preprocess: as `open_clip.create_model_and_transforms` and `open_clip.get_tokenizer` give them.
    name: what errors and runs call it.
    config, options: as for `build`.
    Raises `backbone-unsupported`, `option-invalid` and `depth-invalid`.
    """
    backbone = wrap_backbone(clip, tokenizer, preprocess, name=name)
    return MaClip(backbone, (config or ModelConfig()).changed(**options)).eval()


def load(run: str | Path | Run, pretrained: str | None = None) -> MaClip:
    """The trained model of a run, in evaluation mode.

    run: a run folder, or what `Run.open` or `train` returned.
    pretrained: where the backbone's weights are now, when they are no longer where training found them.
    Raises what `Run.open` and `Run.model` raise.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    return opened.model(pretrained)
