"""A PyTorch model in the place of a bundle, so that the device's code runs on it as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maclip.model.maclip import MaClip
from maclip.version import __version__
from maclip_runtime.bundle.manifest import (
    SCHEMA_VERSION,
    Backbone,
    Census,
    FileSpec,
    GraphSpec,
    Limit,
    Manifest,
    Provenance,
)
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.bundle.vocabulary import Names
from maclip_runtime.engines.base import Array
from maclip_runtime.engines.encoder import Encoder

IN_MEMORY = "in memory"


class TorchEngine:
    """Runs the parts of a model under the names of a bundle's graphs. `model` is put in evaluation mode."""

    def __init__(self, model: MaClip) -> None:
        self.model = model.eval()
        self.device = model.pixel_mean.device.type
        self._graphs: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
            "visual": model.features,
            "stem": model.stem,
            "tower": model.tower,
            "prototype": model.prototypes,
            "match": model.match,
        }

    @torch.no_grad()
    def run(self, graph: str, **inputs: Array) -> tuple[Array, ...]:
        """Run one part on named inputs; returns its outputs in order."""
        device = self.model.pixel_mean.device
        made = self._graphs[graph](**{key: torch.from_numpy(value).to(device) for key, value in inputs.items()})
        outputs: tuple[Tensor, ...] = made if isinstance(made, tuple) else (made,)
        return tuple(output.float().cpu().numpy() for output in outputs)

    def close(self) -> None:
        """Nothing is held."""


def encoder_of(model: MaClip, names: Sequence[str], limit: Limit | None = None) -> Encoder:
    """The device's encoder around `model`, in evaluation mode.

    names: the vocabulary.
    limit: the prior of every gallery's limits; default None.
    """
    parts = ("stem", "tower") if model.splits_frames else ("visual",)
    graphs = (*parts, "prototype", "match")
    raw = model.config.prototype.text_length == "raw"
    manifest = Manifest(
        schema=SCHEMA_VERSION,
        tool_version=__version__,
        backbone=Backbone(model.backbone.name, model.backbone.pretrained, model.backbone.sha256),
        trained=bool(model.tuned_parameters()),
        frames=model.config.frames,
        feature_width=model.feature_width,
        preprocess=model.backbone.preprocess,
        adapted_depth=model.adapted_depth,
        metric=model.config.metric.kind,
        cohort=0 if model.cohort is None else len(model.cohort.prototypes),
        fusion_weight=model.config.text.fusion_weight,
        scale=model.scale,
        precision="float32",
        quantization=None,
        forms={},
        pairs=None,
        limit=limit,
        names=Names(len(names), tuple(model.config.text.templates), "raw" if raw else "unit"),
        text_encoder=None,
        graphs={graph: GraphSpec(graph, (), (), Census({}, {}, 0)) for graph in graphs},
        engines=(),
        files={graph: FileSpec(IN_MEMORY, 0) for graph in graphs},
        gate={},
        gate_accuracy=None,
        loss_allowed=False,
        provenance=Provenance(None, None, None, None, {}, ""),
        contract=IN_MEMORY,
    )
    text = np.asarray(model.encode_names(names).cpu().numpy(), np.float32)
    return Encoder(Bundle(Path(IN_MEMORY), manifest, tuple(names), text), engine=TorchEngine(model))
