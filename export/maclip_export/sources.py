"""What goes into an export beside the model: a vocabulary of names, and real frames for the gate."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maclip.backbone import TINY
from maclip.data import DataSet, load_clip
from maclip.model import MaClip
from maclip.run import ClassNames
from maclip_runtime.errors import MaclipError
from maclip_runtime.frames import prepare

GATE_CLIPS = 4


def read_names(path: Path) -> list[str]:
    """Action names from a file: one a line, or a JSON list. Raises `names-invalid`."""
    try:
        content = path.read_text(encoding="utf-8-sig")
        names = json.loads(content) if path.suffix == ".json" else content.splitlines()
    except (OSError, ValueError) as error:
        raise MaclipError(
            "names-invalid", f"{path} cannot be read as names ({error}).", "Give one name a line."
        ) from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise MaclipError("names-invalid", f"{path} is not a JSON list of names.", 'Write it as ["waving", "jumping"].')
    empty = [i for i, name in enumerate(names, start=1) if not name.strip()]
    if empty or not names:
        where = f"line {empty[0]} is empty" if empty else "it is empty"
        raise MaclipError("names-invalid", f"{path} does not hold names alone: {where}.", "Give one name a line.")
    seen: set[str] = set()
    for name in names:
        if name.strip().casefold() in seen:
            raise MaclipError("names-invalid", f"{path} has {name.strip()!r} twice.", "Keep one of them.")
        seen.add(name.strip().casefold())
    return [name.strip() for name in names]


def vocabulary(classes: ClassNames | None, extra: Iterable[str] = ()) -> list[str]:
    """The names of the data's classes, of every split, and `extra`; each once, whatever its case."""
    known = [*classes.train, *classes.val, *classes.test, *classes.other] if classes else []
    return list({name.casefold(): name for name in [*extra, *known]}.values())


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
