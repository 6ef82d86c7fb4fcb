"""What a query is matched against: the gallery's classes as arrays, made anew when the gallery has changed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from maclip_runtime.engines.encoder import Encoder, Flags
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery import EnrolledClip, Gallery
from maclip_runtime.gallery.errors import GalleryBusy, corrupt
from maclip_runtime.gallery.rows import Member
from maclip_runtime.gallery.storing import usable
from maclip_runtime.reading.frames import Floats

# A stream's window over an enrolled clip. A window as long as the action lies wholly within it for one moment only; in
# benchmarks/events.py three quarters of it found more of what happened, with fewer false alarms.
WINDOW_SHARE = 0.75
MIN_WINDOW_SECONDS = 0.05  # of the default window, however short the clips are
MAX_WINDOW_SECONDS = 86400.0  # likewise
PROTOTYPE_BATCH = 64  # clips whose prototypes are made again at once
STREAM_PATIENCE_SECONDS = 0.1  # that a stream waits for a thread or a program that writes; it asks again soon

NO_TEXT = np.zeros(0, np.float32)

log = logging.getLogger("maclip")


@dataclass(frozen=True)
class Index:
    """The C classes of a gallery at one `version`.

    Attributes:
        version: of the gallery that this was read from.
        names: the classes, in the order of the arrays' rows.
        prototypes: float32 [C, T, D'], as `Encoder.prepare_classes` returns them.
        text: float32 [C, D'], likewise.
        has_text: bool [C], whether `text` counts.
        limits: float32 [C], the distance above which each class's answer is "unknown"; inf: never.
        duration_s: median duration of the enrolled clips, in seconds.
        groups: the clips of each class, without their features.
        left_out: classes that cannot be matched, because their features overflow; the other fields are without them.
    """

    version: tuple[int, int]
    names: tuple[str, ...]
    prototypes: Floats
    text: Floats
    has_text: Flags
    limits: Floats
    duration_s: float
    groups: Mapping[str, Sequence[Member]]
    left_out: tuple[str, ...] = ()

    @property
    def generation(self) -> int:
        """Of the gallery."""
        return self.version[0]

    @property
    def window_s(self) -> float:
        """Default length of a stream's window, in seconds."""
        return min(max(WINDOW_SHARE * self.duration_s, MIN_WINDOW_SECONDS), MAX_WINDOW_SECONDS)


LimitsOf = Callable[[Index, Mapping[int, Floats]], Floats]  # limits [C] of an index, from the prototypes by clip id


class CurrentIndex:
    """The one index of a recogniser. A change by any program counts from the next question on. Safe from threads.

    `limits_of` measures a new index's limits; None: no class has one.
    """

    def __init__(self, gallery: Gallery, encoder: Encoder, limits_of: LimitsOf | None = None) -> None:
        self._gallery = gallery
        self._encoder = encoder
        self._limits_of = limits_of
        self._index: Index | None = None
        self._lock = threading.Lock()
        self._failure = ""
        self._left_out: tuple[str, ...] = ()

    def get(self) -> Index | None:
        """The index, None if the gallery has no class. Raises `gallery-corrupt`, `contract-mismatch`."""
        with self._lock:
            return self._now()

    def ready(self) -> Index:
        """The index. Raises `gallery-empty`, and what `get` raises."""
        index = self.get()
        if index is None:
            raise MaclipError(
                "gallery-empty", f"The gallery {self._gallery.path} has no classes.", "Enroll a clip first."
            )
        return index

    def in_stream(self) -> Index | None:
        """The index, or the last one if the gallery cannot be read: a stream goes on, and the log says why once.

        The last one is also used while another thread or program writes for longer than `STREAM_PATIENCE_SECONDS`.
        """
        if not self._lock.acquire(timeout=STREAM_PATIENCE_SECONDS):  # another thread makes the new one
            return self._index
        try:
            with self._gallery.patience(STREAM_PATIENCE_SECONDS):
                index = self._now()
        except GalleryBusy:
            return self._index
        except (MaclipError, OSError) as error:
            if str(error) != self._failure:
                self._failure = str(error)
                log.warning("the gallery as it was stays in use: %s", error)
            return self._index
        finally:
            self._lock.release()
        self._failure = ""
        return index

    def _now(self) -> Index | None:
        if self._index is None or self._index.version != self._gallery.version:
            self._index = build_index(self._gallery, self._encoder, self._limits_of)
            left_out = self._index.left_out if self._index else ()
            if left_out and left_out != self._left_out:
                log.warning(
                    "%s cannot be matched and %s left out of all answers, because the features overflow: enroll again",
                    ", ".join(map(repr, left_out)),
                    "is" if len(left_out) == 1 else "are",
                )
            self._left_out = left_out
        return self._index


def build_index(gallery: Gallery, encoder: Encoder, limits_of: LimitsOf | None = None) -> Index | None:
    """Read the gallery as it stands; None if it has no class. Makes and keeps prototypes that are missing.

    A class whose features overflow would spoil every answer: it is left out. Without `limits_of` no class has a limit.
    Raises `gallery-corrupt`, `contract-mismatch`.
    """
    manifest = encoder.bundle.manifest
    if gallery.shapes() - {(manifest.frames, manifest.feature_width)}:
        raise corrupt(gallery.path, "its features have another shape than the bundle's")
    version = gallery.version  # first: a change from here on makes the index stale, not wrong
    members = gallery.members()
    by_clip = class_prototypes(gallery, encoder, members)
    members = [member for member in members if member.id in by_clip]
    if not members:
        return None
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(member.class_name, []).append(member)
    # The text of the newest clip that has one: a later choice replaces an earlier one.
    newest = {
        name: next((one.id for one in reversed(group) if one.text_name is not None), None)
        for name, group in groups.items()
    }
    texts = gallery.texts([one for one in newest.values() if one is not None])
    spoiled = {
        name
        for name, group in groups.items()
        if not all(usable(by_clip[one.id]) for one in group) or not usable(texts.get(newest[name] or 0, NO_TEXT))
    }
    kept = {name: group for name, group in groups.items() if name not in spoiled}
    if not kept:
        raise corrupt(gallery.path, "the features of all its classes overflow")
    prototypes = np.stack([np.mean([by_clip[one.id] for one in group], axis=0) for group in kept.values()])
    text = np.zeros((len(kept), prototypes.shape[-1]), np.float32)
    has_text = np.zeros(len(kept), np.bool_)
    for row, name in enumerate(kept):
        if newest[name] in texts:
            text[row], has_text[row] = texts[newest[name] or 0], True
    rows = matchable(encoder, prototypes, text, has_text)
    names = [name for row, name in enumerate(kept) if row in rows]
    index = Index(
        version,
        tuple(names),
        *encoder.prepare_classes(prototypes[rows].astype(np.float32), text[rows]),
        has_text[rows],
        np.full(len(names), np.inf, np.float32),
        float(np.median([member.duration_s for name in names for member in kept[name]])),
        {name: kept[name] for name in names},
        tuple(name for name in groups if name not in names),
    )
    return replace(index, limits=limits_of(index, by_clip)) if limits_of else index


def matchable(encoder: Encoder, prototypes: Floats, text: Floats, has_text: Flags) -> list[int]:
    """The classes, of [C, ...], that the bundle's match graph answers with finite numbers; all if it does so for none.

    One class that overflows makes the probabilities of all classes NaN.
    """
    query = np.random.default_rng(0).normal(size=(1, *prototypes.shape[1:])).astype(np.float32)

    def answered(rows: list[int]) -> list[int]:
        match = encoder.match(query, prototypes[rows], text[rows], has_text[rows])
        if np.isfinite(match.distances).all() and np.isfinite(match.probabilities).all():
            return rows
        half = len(rows) // 2
        return answered(rows[:half]) + answered(rows[half:]) if half else []

    everything = list(range(len(prototypes)))
    return answered(everything) or everything


def make_prototype(encoder: Encoder, clip: EnrolledClip) -> Floats:
    """One clip's prototype, float32 [T, D'], from the features and the text it was enrolled with."""
    return encoder.prototypes(clip.features[None], None if clip.text is None else clip.text[None])[0]


def class_prototypes(gallery: Gallery, encoder: Encoder, members: Sequence[Member]) -> dict[int, Floats]:
    """Each clip's prototype by clip id, made again if none is kept for this bundle's graph."""
    graph = encoder.bundle.graph_digest("prototype")
    found = gallery.prototypes(graph)
    missing = [member.id for member in members if member.id not in found]
    for start in range(0, len(missing), PROTOTYPE_BATCH):
        version = gallery.version  # before the clips: what is made of them is kept beside them, or not at all
        clips = gallery.clips(ids=missing[start : start + PROTOTYPE_BATCH])
        made = {clip.id: make_prototype(encoder, clip) for clip in clips}
        gallery.keep_prototypes(version, graph, {one: array for one, array in made.items() if usable(array)})
        found.update(made)
    return found
