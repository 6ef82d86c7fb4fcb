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
from maclip_runtime.gallery.errors import corrupt
from maclip_runtime.gallery.rows import Member
from maclip_runtime.reading.frames import Floats

# A stream's window over an enrolled clip. A window as long as the action lies wholly within it for one moment only; in
# benchmarks/events.py three quarters of it found more of what happened, with fewer false alarms.
WINDOW_SHARE = 0.75
PROTOTYPE_BATCH = 64  # clips whose prototypes are made again at once
STREAM_PATIENCE_SECONDS = 0.1  # that a stream waits for another program that enrolls; it asks again soon

log = logging.getLogger("maclip")


@dataclass(frozen=True)
class Index:
    """The C classes of a gallery at one `version`.

    Attributes:
        version: of the gallery that this was read from.
        names: the classes, in the order of the arrays' rows.
        prototypes: float32 [C, T, D'].
        text: float32 [C, D'].
        has_text: bool [C], whether `text` counts.
        limits: float32 [C], the distance above which each class's answer is "unknown"; inf: never.
        duration_s: median duration of the enrolled clips, in seconds.
        groups: the clips of each class, without their features.
    """

    version: tuple[int, int]
    names: tuple[str, ...]
    prototypes: Floats
    text: Floats
    has_text: Flags
    limits: Floats
    duration_s: float
    groups: Mapping[str, Sequence[Member]]

    @property
    def generation(self) -> int:
        """Of the gallery."""
        return self.version[0]

    @property
    def window_s(self) -> float:
        """Default length of a stream's window, in seconds."""
        return WINDOW_SHARE * self.duration_s


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

    def get(self) -> Index | None:
        """The index, None if the gallery has no class. Raises `gallery-corrupt`, `contract-mismatch`."""
        with self._lock:
            if self._index is None or self._index.version != self._gallery.version:
                self._index = build_index(self._gallery, self._encoder, self._limits_of)
            return self._index

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

        The last one is also used while another program writes for longer than `STREAM_PATIENCE_SECONDS`.
        """
        try:
            known = self._index
            if known and not self._gallery.changed_since(known.version, STREAM_PATIENCE_SECONDS):
                self._failure = ""
                return known
            index = self.get()
        except (MaclipError, OSError) as error:
            if str(error) != self._failure:
                self._failure = str(error)
                log.warning("the gallery as it was stays in use: %s", error)
            return self._index
        self._failure = ""
        return index


def build_index(gallery: Gallery, encoder: Encoder, limits_of: LimitsOf | None = None) -> Index | None:
    """Read the gallery as it stands; None if it has no class. Makes and keeps prototypes that are missing.

    Without `limits_of` no class has a limit. Raises `gallery-corrupt`, `contract-mismatch`.
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
    prototypes = np.stack([np.mean([by_clip[one.id] for one in group], axis=0) for group in groups.values()])
    if not np.isfinite(prototypes).all():
        raise corrupt(gallery.path, "its prototypes are not finite")
    text = np.zeros((len(groups), prototypes.shape[-1]), np.float32)
    has_text = np.zeros(len(groups), np.bool_)
    # The text of the newest clip that has one: a later choice replaces an earlier one.
    newest = [next((one.id for one in reversed(group) if one.text_name is not None), None) for group in groups.values()]
    texts = gallery.texts([one for one in newest if one is not None])
    for row, clip_id in enumerate(newest):
        if clip_id in texts:
            text[row], has_text[row] = texts[clip_id], True
    index = Index(
        version,
        tuple(groups),
        prototypes.astype(np.float32),
        text,
        has_text,
        np.full(len(groups), np.inf, np.float32),
        float(np.median([member.duration_s for member in members])),
        groups,
    )
    return replace(index, limits=limits_of(index, by_clip)) if limits_of else index


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
        gallery.keep_prototypes(version, graph, made)
        found.update(made)
    return found
