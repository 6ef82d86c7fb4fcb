"""Frame features of every clip of a store, as support clip and as query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from maclip.data.clip_reader import ClipReader
from maclip.data.clip_store import BATCH_FRAMES, ClipStore, Progress
from maclip.data.dataset import ActionClass
from maclip.data.episodes import Ids
from maclip.data.prefetch import prefetch
from maclip.model.maclip import MaClip
from maclip_runtime.errors import MaclipError
from maclip_runtime.fleet import HERE, Fleet, Here, in_order

BATCHES_AHEAD = 2
BATCHES_A_SHARE = 4  # of a cluster


def store_for(model: MaClip, classes: Sequence[ActionClass]) -> ClipStore:
    """The clips of `classes` as inputs of `model`, without a cache; a broken clip raises its error."""
    return ClipStore(classes, ClipReader(model.backbone.preprocess, model.config.frames))


@dataclass(frozen=True)
class Encoded:
    """Frame features [n, T, D'] of the clips `ids` as support clips and as queries, and those that are broken."""

    ids: Ids
    support: Tensor
    query: Tensor
    broken: dict[int, MaclipError]


Batch = tuple[Ids, np.random.Generator | None]  # clips, and what draws their views


@dataclass(frozen=True)
class Encoding:
    """A job whose shares are batches of clips of a store, and whose parts are the features of a batch."""

    model: MaClip
    store: ClipStore
    text: Tensor | None

    def parts(self, share: Sequence[Batch], skip: int) -> Iterator[Encoded]:
        """The features of each batch; the next batches are read meanwhile."""
        model, store = self.model, self.store
        batches = share[skip:]
        threads = min(BATCHES_AHEAD, store.workers)
        loads = prefetch(lambda batch: store.load_each(*batch), batches, threads)
        for (ids, _), clips in zip(batches, loads, strict=True):
            with torch.no_grad():
                support = query = model.encode(clips)
                if self.text is not None and model.features_read_text:
                    own = self.text[torch.from_numpy(store.labels[ids]).to(self.text.device)]
                    support = model.encode(clips, own)
            broken = {clip: error for clip in ids.tolist() if (error := store.broken.errors.get(clip))}
            yield Encoded(ids, support, query, broken)


def clip_features(
    model: MaClip,
    store: ClipStore,
    text: Tensor | None,
    *,
    rng: np.random.Generator | None = None,
    progress: Progress | None = None,
    fleet: Fleet = HERE,
) -> tuple[Tensor, Tensor]:
    """Frame features of one view of every clip, as support clips and as queries: two tensors [clips, T, D'].

    text: text features of the classes [classes, D'], for support clips; None: support clips without text.
    rng: draws a random view of each clip; default None: the centre view.
    progress: called with (clips done, clips).
    fleet: whose workers read and encode the clips; default: this process.
    Features of a broken clip are NaN. Raises what `BrokenClips.add` and `fleet` raise.
    """
    size = max(1, BATCH_FRAMES // model.config.frames)
    ids = [np.arange(at, min(at + size, len(store))) for at in range(0, len(store), size)]
    batches: list[Batch] = [(some, None if rng is None else rng.spawn(1)[0]) for some in ids]
    a_share = len(batches) if isinstance(fleet, Here) else BATCHES_A_SHARE
    shares = [batches[at : at + a_share] for at in range(0, len(batches), a_share)]
    support, query = [], []
    for part in in_order(fleet, Encoding(model, store, text), shares):
        store.broken.merge([part.broken])
        support.append(part.support)
        query.append(part.query)
        if progress:
            progress(int(part.ids[-1]) + 1, len(store))
    broken = sorted(store.broken.errors)
    return _with_nan(torch.cat(support), broken), _with_nan(torch.cat(query), broken)


def _with_nan(features: Tensor, broken: Sequence[int]) -> Tensor:
    return features.index_fill(0, torch.tensor(broken, dtype=torch.long, device=features.device), torch.nan)
