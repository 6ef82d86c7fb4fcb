"""Models whose every tuned tensor is random, and the type of the fixture that exports them once."""

from __future__ import annotations

import dataclasses
import json
import zlib
from pathlib import Path
from typing import Any

import open_clip
import torch
from made_once import Once

import maclip
from maclip.backbones.loading import load_backbone
from maclip.config import ModelConfig
from maclip.model.cohort import Cohort
from maclip.model.maclip import MaClip
from maclip_export.bundle.writer import Material, write_bundle
from maclip_export.gate.trial import drawn_trial
from maclip_export.options import ExportOptions

Made = tuple[MaClip, Path]

NAMES = ["moving a shape up", "two shapes passing each other", "a red star growing"]


def randomised(model: MaClip, *, cohort: bool = False) -> MaClip:
    """Zero-initialised adapters would hide mistakes: give every tuned tensor random values, and the model a cohort.

    Parts that are alike in two models get the same values, so that they are traced once. With a cohort the metric is
    in the graph twice, which takes twice the time.
    """
    tuned = {id(parameter) for parameter in model.tuned_parameters()}
    for name, parameter in model.named_parameters():
        if id(parameter) in tuned:
            torch.manual_seed(zlib.crc32(name.encode()))
            torch.nn.init.normal_(parameter, std=0.05)
    torch.manual_seed(11)
    if cohort:
        model.cohort = Cohort(torch.randn(7, model.config.frames, model.feature_width), 0.5, typical=1.0)
    return model


def made(once: Once, name: str, options: ExportOptions) -> Made:
    """The tiny CLIP with its last two blocks adapted, and its bundle by `options`; what was tried lies beside it."""
    model = randomised(maclip.build("tiny", "none", adapters="blocks", adapted_depth=2), cohort=True)

    def make(folder: Path) -> None:
        material = Material(NAMES, drawn_trial(model, 2), calibration=drawn_trial(model, 2, seed=1))
        report = write_bundle(model, folder / "bundle", material, options)
        (folder / "candidates.json").write_text(json.dumps([dataclasses.asdict(one) for one in report.candidates]))

    return model, once(name, make) / "bundle"


def two_blocks(*, cohort: bool = False, **choices: Any) -> MaClip:
    """The tiny CLIP with fewer layers, all of its kinds: exporting takes time for each. By default the paper's."""
    tiny = load_backbone("tiny", "none")
    vision = {"image_size": 64, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32}
    text = {"context_length": 32, "vocab_size": 1179, "width": 64, "heads": 2, "layers": 1}
    torch.manual_seed(12)
    clip = open_clip.CLIP(embed_dim=64, vision_cfg=vision, text_cfg=text).eval().requires_grad_(False)
    return randomised(
        MaClip(dataclasses.replace(tiny, clip=clip), ModelConfig.of(**{"adapters": "blocks", **choices})).eval(),
        cohort=cohort,
    )
