"""The graphs of a bundle: thin wrappers of the model that exist only for export, with their inputs and outputs.

The runtime relies on the names, order and types of inputs and outputs. A letter is a free axis: B clips, C classes,
F frames.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from timm.utils.model import reparameterize_model
from torch import Tensor, nn

from maclip.backbones.cutting import cut_tower
from maclip.metrics import takes_unit_support
from maclip.model.maclip import MaClip
from maclip_runtime.bundle.manifest import TensorSpec
from maclip_runtime.engines.encoder import UNIT

# Tracing with one of anything would fix that axis to one (pytorch #148886).
EXAMPLE_CLIPS, EXAMPLE_CLASSES = 2, 3


@dataclass(frozen=True)
class Graph:
    """One graph to export: the module to trace, its inputs and its outputs."""

    name: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class _Part(nn.Module):
    """A part of `model` as a module of its own."""

    def __init__(self, model: MaClip) -> None:
        super().__init__()
        self.model = model


class _Visual(_Part):
    """Bytes of whole clips to frame features."""

    def forward(self, frames: Tensor, text: Tensor, has_text: Tensor) -> Tensor:
        return self.model.features(frames, text, has_text)


class _Stem(_Part):
    """Bytes of single frames to tokens."""

    def forward(self, frames: Tensor) -> Tensor:
        return self.model.stem(frames)


class _Tower(_Part):
    """Tokens of whole clips to frame features."""

    def forward(self, tokens: Tensor, text: Tensor, has_text: Tensor) -> Tensor:
        return self.model.tower(tokens, text, has_text)


class _Prototype(_Part):
    """Frame features of one clip each to prototypes."""

    def forward(self, features: Tensor, text: Tensor, has_text: Tensor) -> Tensor:
        # Without a prototype module the output would be the input itself, and ONNX needs a node between them.
        return self.model.prototypes(features, text, has_text).clone()


class _Match(_Part):
    """Query features against the prototypes of all classes."""

    def forward(self, features: Tensor, prototypes: Tensor, text: Tensor, has_text: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.match(features, prototypes, text, has_text)


class _UnitMatch(_Part):
    """The same against prototypes and text of length 1: the runtime normalises them once, when the gallery changes."""

    def forward(
        self, features: Tensor, unit_prototypes: Tensor, unit_text: Tensor, has_text: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self.model.match(features, unit_prototypes, unit_text, has_text, unit=True)


def graphs_of(model: MaClip) -> list[Graph]:
    """The graphs that make up a bundle of `model`: visual, or stem and tower; then prototype and match."""
    frames, width, size = model.config.frames, model.feature_width, model.backbone.preprocess.size
    tokens, token_width = model.stem_shape
    text = _named("B", width)
    features = TensorSpec("features", "float32", ("B", frames, width))
    stored = "float32" if model.side is None else "float16"
    seeing = _joined(model)
    if model.splits_frames:
        towers = [
            Graph(
                "stem",
                _Stem(seeing),
                (TensorSpec("frames", "uint8", ("F", size, size, 3)),),
                (TensorSpec("tokens", stored, ("F", tokens, token_width)),),
            ),
            Graph(
                "tower",
                _Tower(model),
                (TensorSpec("tokens", stored, ("B", frames, tokens, token_width)), *text),
                (features,),
            ),
        ]
    else:
        clip = TensorSpec("frames", "uint8", ("B", frames, size, size, 3))
        towers = [Graph("visual", _Visual(seeing), (clip, *text), (features,))]
    unit = takes_unit_support(model.metric)
    prefix = UNIT if unit else ""
    single = TensorSpec("features", "float32", ("C", frames, width))
    prototypes = TensorSpec("prototypes", "float32", ("C", frames, width))
    return [
        *towers,
        Graph("prototype", _Prototype(model), (single, *_named("C", width)), (prototypes,)),
        Graph(
            "match",
            (_UnitMatch if unit else _Match)(model),
            (features, replace(prototypes, name=prefix + prototypes.name), *_named("C", width, prefix)),
            (TensorSpec("distances", "float32", ("B", "C")), TensorSpec("probabilities", "float32", ("B", "C"))),
        ),
    ]


def _joined(model: MaClip) -> MaClip:
    """`model`, or a copy of it in which each convolution of several branches (MobileCLIP's S) is one, for speed."""
    if not any(hasattr(module, "reparameterize") for module in model.clip.visual.modules()):
        return model
    joined = copy.deepcopy(model)
    joined.clip.visual = reparameterize_model(joined.clip.visual)
    joined.image = cut_tower(joined.clip.visual)
    return joined


def takes_raw_text(model: MaClip) -> bool:
    """Whether text features keep CLIP's own length (`PrototypeConfig.text_length`); else their length is 1."""
    return model.config.prototype.text_length == "raw"


def example_inputs(graph: Graph) -> tuple[Tensor, ...]:
    """Random inputs to trace a graph with."""
    sizes = {"B": EXAMPLE_CLIPS, "C": EXAMPLE_CLASSES, "F": EXAMPLE_CLIPS}
    make: dict[str, Callable[[list[int]], Tensor]] = {
        "uint8": lambda shape: torch.randint(0, 256, shape, dtype=torch.uint8),
        "bool": lambda shape: torch.arange(shape[0]) % 2 == 0,
        "float32": lambda shape: torch.randn(shape),
        "float16": lambda shape: torch.randn(shape).half(),
        "int64": lambda shape: torch.randint(1, 256, shape),  # tokens: every vocabulary has those of single bytes
    }
    return tuple(make[spec.dtype]([sizes[n] if isinstance(n, str) else n for n in spec.shape]) for spec in graph.inputs)


def _named(axis: str, width: int, prefix: str = "") -> tuple[TensorSpec, TensorSpec]:
    return TensorSpec(f"{prefix}text", "float32", (axis, width)), TensorSpec("has_text", "bool", (axis,))
