"""MA-CLIP: light adapters on a frozen CLIP that learn actions from a handful of clips.

>>> import maclip
>>> model = maclip.build(backbone="tiny", adapted_depth=2)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maclip.model.maclip import MaClip

__version__ = "0.1.0"
__all__ = ["__version__", "build", "load"]


def build(backbone: str = "ViT-B-16", pretrained: str = "openai", **choices: Any) -> MaClip:
    """A new, untrained model in evaluation mode; `choices` are the fields of `maclip.model.maclip.ModelConfig`.

    `pretrained` is a tag of open_clip, the path of a checkpoint, or "none" for random weights.
    """
    from maclip.backbones.loading import load_backbone
    from maclip.model.maclip import MaClip, ModelConfig

    return MaClip(load_backbone(backbone, pretrained), ModelConfig(**choices)).eval()


def load(run: str | Path, pretrained: str | None = None) -> MaClip:
    """The trained model of a run folder, in evaluation mode.

    `pretrained` says where the backbone's weights are now, when they are no longer where training found them.
    """
    from maclip.runs import load_model

    return load_model(Path(run), pretrained)


def __getattr__(name: str) -> Any:
    if name == "metrics":
        import importlib

        return importlib.import_module("maclip.metrics")
    raise AttributeError(f"module 'maclip' has no attribute {name!r}")
