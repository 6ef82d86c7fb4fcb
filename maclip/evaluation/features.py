"""Frame features of every clip of a store, as support clip and as query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from maclip.data.clip_reader import ClipReader
from maclip.data.clip_store import BATCH_FRAMES, ClipStore, Progress
from maclip.data.dataset import ActionClass
from maclip.data.prefetch import prefetch
from maclip.model.maclip import MaClip

BATCHES_AHEAD = 2


def store_for(model: MaClip, classes: Sequence[ActionClass]) -> ClipStore:
    """The clips of `classes` as inputs of `model`, without a cache; a broken clip raises its error."""
    return ClipStore(classes, ClipReader(model.backbone.preprocess, model.config.frames))


@torch.no_grad()
def clip_features(
    model: MaClip,
    store: ClipStore,
    text: Tensor | None,
    *,
    rng: np.random.Generator | None = None,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor]:
    """Frame features of one view of every clip, as support clips and as queries: two tensors [clips, T, D'].

    text: text features of the classes [classes, D'], for support clips; None: support clips without text.
    rng: draws a random view of each clip; default None: the centre view.
    progress: called with (clips done, clips).
    Features of a broken clip are NaN.
    """
    support, query = [], []
    batch = max(1, BATCH_FRAMES // model.config.frames)
    batches = [np.arange(at, min(at + batch, len(store))) for at in range(0, len(store), batch)]
    seeds = [None if rng is None else rng.spawn(1)[0] for _ in batches]
    threads = min(BATCHES_AHEAD, store.workers)
    loads = prefetch(lambda job: store.load_each(*job), zip(batches, seeds, strict=True), threads)
    for ids, clips in zip(batches, loads, strict=True):
        query.append(model.encode(clips))
        if text is None or not model.features_read_text:
            support.append(query[-1])
        else:
            support.append(model.encode(clips, text[torch.from_numpy(store.labels[ids]).to(text.device)]))
        if progress:
            progress(int(ids[-1]) + 1, len(store))
    broken = sorted(store.broken.errors)
    return _with_nan(torch.cat(support), broken), _with_nan(torch.cat(query), broken)


def _with_nan(features: Tensor, broken: Sequence[int]) -> Tensor:
    return features.index_fill(0, torch.tensor(broken, dtype=torch.long, device=features.device), torch.nan)
