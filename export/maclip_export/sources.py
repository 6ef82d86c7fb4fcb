"""What goes into an export beside the model: a vocabulary of names, and real frames for the gate."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from maclip.backbone import TINY
from maclip.data import DataSet, load_clip
from maclip.model import MaClip
from maclip.run import ClassNames
from maclip_export.names import read_names as read_names  # its old place
from maclip_runtime.bundle import name_key
from maclip_runtime.frames import prepare

GATE_CLIPS = 4


def vocabulary(classes: ClassNames | None, extra: Iterable[str] = ()) -> list[str]:
    """The names of the data's classes, of every split, and `extra`; each once, whatever its case or underscores."""
    known = [*classes.train, *classes.val, *classes.test, *classes.other] if classes else []
    return list({name_key(name): name for name in [*extra, *known]}.values())


def default_names(backbone: str) -> list[str]:
    """The names a bundle of plain CLIP gets when none are given: those of the drawn world for the tiny CLIP."""
    if backbone != TINY:
        return []
    from maclip.world.classes import FAMILIES, classes

    return [one.name for family in FAMILIES for one in classes(family)]


def clips_of(data: DataSet, model: MaClip, count: int = GATE_CLIPS) -> Tensor:
    """The first readable clips of different classes of `data`: uint8 [n, T, size, size, 3]."""
    clips = []
    for c in data.classes[:count]:
        clips.append(load_clip(c.clips[0], model.backbone.preprocess, model.config.frames))
    return torch.from_numpy(np.stack(clips))


def drawn_clips(model: MaClip, count: int = GATE_CLIPS) -> Tensor:
    """Generated frames for whoever has no data at hand: uint8 [n, T, size, size, 3]."""
    from maclip.world.scenes import random_scene, render_scene

    rng = np.random.default_rng(0)
    frames = [
        prepare(render_scene(random_scene(rng), rng, size=128), model.backbone.preprocess)
        for _ in range(count * model.config.frames)
    ]
    return torch.from_numpy(np.stack(frames)).unflatten(0, (count, model.config.frames))
