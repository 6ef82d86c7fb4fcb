"""The MA-CLIP model: a frozen CLIP, its adapters, TPCM, a metric (docs/method.md, sections 2 to 5 and 11)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from maclip.adapters import build_adapted_block, build_side_network, is_side_network, refuse_foreign_options
from maclip.backbones.cutting import cut_tower
from maclip.backbones.image_towers import plain_block
from maclip.backbones.loading import LoadedBackbone
from maclip.backbones.text_tower import encode_tokens, refuse_alike, refuse_cut_templates, refuse_templates, trim
from maclip.config import ModelConfig
from maclip.config.model import NONE
from maclip.data.stem_cache import Stem
from maclip.metrics import build_metric
from maclip.model.cohort import Cohort
from maclip.model.losses import fuse, text_logits
from maclip.prototypes import build_prototype_module
from maclip_runtime.errors import MaclipError

PROMPTS_PER_BATCH = 64  # enough to use two cores; larger batches are padded more


class MaClip(nn.Module):
    """MA-CLIP: a frozen CLIP model with trained adapters, prototype module and metric.

    The image tower has two parts. The *stem* processes single frames: the patch embedding and, if only the last K
    blocks are adapted, the frozen blocks before them. The *tower* processes whole clips. With all blocks adapted, the
    temporal embedding is added before `ln_pre` (docs/method.md, section 2). With fewer, it is added at the start of the
    tower, so that the stem's output does not depend on the position of a frame.

    With a side network (docs/method.md, section 11) the stem is all of CLIP and the side layers that see single frames.
    Its `frozen` part, CLIP alone, is what training caches.

    backbone: the frozen CLIP model, in `clip` with open_clip's names. Everything else in the state dict is trained.
    config: of the model.
    Raises `depth-invalid` and `option-invalid`.
    """

    pixel_mean: Tensor  # [3], of pixels in 0..1
    pixel_std: Tensor  # [3]

    def __init__(self, backbone: LoadedBackbone, config: ModelConfig) -> None:
        super().__init__()
        self._encoded: dict[str, Tensor] = {}  # text features by name, once the encoder is freed
        refuse_templates(config.text.templates)
        refuse_foreign_options(config.adapters)
        self.checkpointing = False  # gradient checkpointing, set by training
        self.backbone = backbone
        self.clip: Any = backbone.clip
        image = cut_tower(backbone.clip.visual)
        layers = len(image.blocks)
        depth = _adapted_depth(config, layers)
        if not layers and _in_blocks(config) and config.adapters.depth != 0:
            raise MaclipError(
                "backbone-unsupported",
                f"The blocks of {backbone.name} cannot be adapted.",
                "Choose --adapters ladder, which is the default, or --adapters none for the prototype module alone.",
            )
        if not 0 <= depth <= layers:
            raise MaclipError(
                "depth-invalid",
                f"{backbone.name} has {layers} blocks, fewer than the {depth} to be adapted.",
                f"Choose --adapted-depth from 0 to {layers}.",
            )
        backbone.clip.visual.requires_grad_(config.tune == "all")
        self.config = config
        self.adapted_depth = depth
        self.layers = layers
        self.image = image
        self.feature_width = image.feature_width
        # The last block belongs to the tower even when not adapted: most backbones need only its class token.
        self.tower_start = max(0, layers - max(depth, 1))
        side = config.adapters.kind != NONE and not _in_blocks(config)
        self.side = build_side_network(config.adapters, image, config.frames) if side else None
        if self.side is not None:
            self.tower_start = layers  # no block of the backbone sees more than one frame
        self.blocks = nn.ModuleDict(
            {str(i): build_adapted_block(config.adapters, image) for i in range(layers - depth, layers)}
        )
        self.temporal_embedding = nn.Parameter(torch.zeros(config.frames, image.width)) if depth else None
        self.prototype = build_prototype_module(config.prototype, self.feature_width)
        self.metric = build_metric(config.metric, self.feature_width, config.frames)
        learned = config.metric.open_set_weight > 0
        self.none_distance = nn.Parameter(torch.tensor(config.metric.none_distance)) if learned else None
        self.cohort: Cohort | None = None  # comes after training
        self.scale = config.text.logit_scale or float(backbone.clip.logit_scale.exp())
        pixel = torch.tensor([backbone.preprocess.mean, backbone.preprocess.std])
        self.register_buffer("pixel_mean", pixel[0], persistent=False)
        self.register_buffer("pixel_std", pixel[1], persistent=False)

    def train(self, mode: bool = True) -> MaClip:
        """Set training mode; the frozen CLIP model always stays in evaluation mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def features(self, frames: Tensor, text: Tensor | None = None, has_text: Tensor | None = None) -> Tensor:
        """Frame features of clips: uint8 [B, T, H, W, 3] at the model's size -> [B, T, D'].

        text: text features [B, D'] for the support branch; None (default) for the query branch.
        has_text: bool [B], False selects the query branch for single clips of a batch with text.
        """
        # Cast first: TensorRT supports uint8 inputs only if they are cast at once.
        tokens = self._stem(frames.to(self.pixel_mean.dtype).flatten(0, 1))
        return self.tower(tokens.unflatten(0, frames.shape[:2]), text, has_text)

    def stem(self, frames: Tensor) -> Tensor:
        """The part that processes single frames: uint8 [F, H, W, 3] -> tokens [F, *stem_shape].

        With a side network they are rounded to half precision, as a stream keeps them (`features` does not round).
        """
        tokens = self._stem(frames)
        return tokens if self.side is None else self.side.stored(tokens)

    @property
    def stem_shape(self) -> tuple[int, int]:
        """Rows and width of a frame's stem tokens: [N+1, D], or what the side network says."""
        return (self.image.rows, self.image.width) if self.side is None else self.side.stem_shape

    @property
    def splits_frames(self) -> bool:
        """Whether something is computed once for each frame: the model is exported as stem and tower."""
        return self.side is not None or 0 < self.adapted_depth < self.layers

    @property
    def has_frozen_stem(self) -> bool:
        """Whether `frozen` depends on no tuned tensor that is not part of CLIP."""
        return self.side is not None or not self._embeds_before_ln_pre()

    @property
    def features_read_text(self) -> bool:
        """Whether frame features of support clips depend on their text."""
        return (self.side is not None or self.adapted_depth > 0) and self.config.adapters.text_token

    def frozen(self, frames: Tensor) -> Tensor:
        """The frozen part of the stem, which training caches: uint8 [F, H, W, 3] -> tokens [F, rows, D]."""
        pixels = frames.to(self.pixel_mean.dtype) / 255
        pixels = ((pixels - self.pixel_mean) / self.pixel_std).permute(0, 3, 1, 2)  # (F, 3, H, W)
        if self.side is not None:
            return self.side.read(self.image, pixels)
        x = self.image.embed(pixels)
        if self._embeds_before_ln_pre():
            return x
        x = self.image.pre_norm(x)
        for block in self.image.blocks[: self.tower_start]:
            x = self._run_block(plain_block, block, x)
        return x

    def tower(self, tokens: Tensor, text: Tensor | None = None, has_text: Tensor | None = None) -> Tensor:
        """The part that processes whole clips: tokens [B, T, *stem_shape] of `stem` -> frame features [B, T, D'].

        text, has_text: as for `features`.
        """
        if not self.config.adapters.text_token:
            text = None
        elif text is not None and self._raw_text:
            text = F.normalize(text, dim=-1)
        if self.side is not None:
            return self.side.tower(tokens.to(self.pixel_mean.dtype), text, has_text, self._run_block)
        x = tokens
        if self.temporal_embedding is not None:
            x = x + self.temporal_embedding[:, None]  # (T, 1, D)
        if self._embeds_before_ln_pre():
            x = self.image.pre_norm(x)
        for i in range(self.tower_start, self.layers):
            keep = self.image.last_rows if i == self.layers - 1 else None
            block = self.image.blocks[i]
            if str(i) in self.blocks:
                x = self._run_block(self.blocks[str(i)], block, x, text, has_text, keep)
            else:
                x = self._run_block(plain_block, block, x.flatten(0, 1), keep).unflatten(0, x.shape[:2])
        return self.image.feature(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def encode(self, clips: Tensor, text: Tensor | None = None, has_text: Tensor | None = None) -> Tensor:
        """Frame features [B, T, D'] of frames (uint8, as for `features`) or of cached tokens (float, of `frozen`).

        clips: moved to the model's device.
        text, has_text: as for `features`.
        """
        clips = clips.to(self.pixel_mean.device)
        if clips.dtype == torch.uint8:
            return self.features(clips, text, has_text)
        tokens = clips.to(self.pixel_mean.dtype)
        if self.side is not None:
            tokens = self.side.stem(tokens, self._run_block)
        return self.tower(tokens, text, has_text)

    def frozen_stem(self) -> Stem:
        """The frozen stem for `ClipStore.cache_stem`: its output does not depend on tuned tensors."""
        identity: tuple[object, ...] = (
            self.backbone.name,  # the same weights may be used in another architecture
            self.backbone.sha256,
            self.backbone.preprocess,
            self.tower_start,
            self._embeds_before_ln_pre(),
        )
        device = self.pixel_mean.device
        shape = (self.image.rows, self.image.width)
        if self.side is not None:
            shape = self.side.frozen_shape
            identity = (*identity, self.config.adapters.kind, self.config.adapters.ladder.temporal)
        return Stem(lambda frames: self.frozen(frames.to(device)), identity, shape, device.type)

    def prototypes(self, features: Tensor, text: Tensor | None = None, has_text: Tensor | None = None) -> Tensor:
        """Prototypes by the prototype module: features [C, T, D'] of one clip each -> [C, T, D'].

        text: text features [C, D'], or None for the query branch.
        has_text: bool [C], False selects the query branch for single clips.
        """
        if self.prototype is None:
            return features
        out: Tensor = self.prototype(features, text, has_text)
        return out

    def match(
        self, features: Tensor, prototypes: Tensor, text: Tensor, has_text: Tensor | None = None, *, unit: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Distances and probabilities [B, C] of queries: features [B, T, D'] before TPCM, prototypes [C, T, D'].

        text: text features of the classes [C, D'].
        has_text: bool [C], False for classes without text.
        unit: the vectors of `prototypes` and `text` have length 1; only if the metric `takes_unit_support`.
        """
        told = {"unit_support": True} if unit else {}
        queries = self.prototypes(features)
        distances = self.metric(queries, prototypes, **told)
        if self.cohort is not None:
            distances = distances + self.cohort.shift(self.metric, queries)[:, None]
        scores = text_logits(features, text, self.scale, unit_text=unit)
        weight = self.config.text.fusion_weight
        return distances, fuse(scores, distances, has_text, weight, self.none_distance)

    @torch.no_grad()
    def encode_names(self, names: Iterable[str]) -> Tensor:
        """Text features of action names [n, D']: normalised, averaged over templates, and normalised again.

        If the prototype module reads raw text (`PrototypeConfig.text_length`), they are averaged but not normalised.
        Raises `names-invalid` for two names of which the encoder reads the same, `option-invalid` for a template
        that is too long.
        """
        wanted, device = list(names), self.pixel_mean.device
        if self._encoded and wanted:
            return torch.stack([self._encoded[name] for name in wanted]).to(device)
        tokenizer, templates = self.backbone.tokenizer, self.config.text.templates
        prompts = [template.format(name) for name in wanted for template in templates]
        batches = [tokenizer(prompts[i : i + PROMPTS_PER_BATCH]) for i in range(0, len(prompts), PROMPTS_PER_BATCH)]
        if wanted:
            refuse_cut_templates(templates, tokenizer)
            refuse_alike(wanted, [own.numpy().tobytes() for own in torch.cat(batches).split(len(templates))])
        rows = [torch.zeros(0, self.feature_width, device=device)]
        rows += [encode_tokens(self.clip, trim(self.clip, tokens).to(device)) for tokens in batches]
        features = torch.cat(rows)
        if self._raw_text:
            return features.unflatten(0, (-1, len(self.config.text.templates))).mean(1)
        units = F.normalize(features, dim=-1).unflatten(0, (-1, len(self.config.text.templates)))
        return F.normalize(units.mean(1), dim=-1)

    def free_frozen(self, names: Iterable[Iterable[str]], *, stem: bool) -> None:
        """Free weights that training no longer needs: the text encoder, and with `stem` the stem's blocks.

        names: groups of class names. They are encoded now, each group in one batch; afterwards `encode_names` knows
            only these.
        stem: whether to free the stem too; `stem` and `features` then fail. Cached tokens and tuned tensors are kept.
        """
        groups = [list(group) for group in names]
        features = [self.encode_names(group) for group in groups]
        self._encoded = dict(zip(chain(*groups), torch.cat(features), strict=True))
        kept = {id(module) for module in self.clip.visual.modules()}
        for module in self.clip.children():
            if id(module) not in kept:
                module.to("meta")  # shapes without storage
        if stem:
            for block in self.image.blocks[: self.tower_start]:
                block.module.to("meta")

    def tuned_state(self) -> dict[str, Tensor]:
        """The trained tensors by name, as in `adapters.safetensors`.

        With `tune` "all" they include the image encoder, as `clip.visual.*`. The cohort is made of them afterwards.
        """
        kept = ("clip.visual.",) if self.config.tune == "all" else ()
        state = self.state_dict().items()
        return {key: value for key, value in state if key.startswith(kept) or not key.startswith(("clip.", "cohort."))}

    def tuned_parameters(self) -> list[nn.Parameter]:
        """The parameters that training changes, in a fixed order."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def _stem(self, frames: Tensor) -> Tensor:
        tokens = self.frozen(frames)
        return tokens if self.side is None else self.side.stem(tokens, self._run_block)

    def _run_block(self, block: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """`block(*inputs)`, with gradient checkpointing if it is on."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    @property
    def _raw_text(self) -> bool:
        return self.config.prototype.text_length == "raw"

    def _embeds_before_ln_pre(self) -> bool:
        return 0 < self.adapted_depth == self.layers


def _in_blocks(config: ModelConfig) -> bool:
    return config.adapters.kind != NONE and not is_side_network(config.adapters.kind)


def _adapted_depth(config: ModelConfig, layers: int) -> int:
    if not _in_blocks(config):
        return 0
    return layers if config.adapters.depth is None else config.adapters.depth
