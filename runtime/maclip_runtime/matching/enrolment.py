"""Enrolment: clips of an action become rows of the gallery, all of them or none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike

import numpy as np

from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery import NEGATIVE, EnrolledClip, Gallery, valid_name
from maclip_runtime.matching.index import Index, build_index, make_prototype
from maclip_runtime.matching.placement import misplaced
from maclip_runtime.reading import quality
from maclip_runtime.reading.clip import read_clip
from maclip_runtime.reading.frames import Floats, Pixels, prepare, segment_indices
from maclip_runtime.reading.quality import ClipRejected, Rejection
from maclip_runtime.sources import Roi, local_path, redact

PathOrName = str | PathLike[str]


@dataclass(frozen=True)
class Take:
    """A clip that is in memory: frames uint8 [N, H, W, 3] RGB of `duration_s` seconds, and where they are from.

    `prepared`: the frames have been through `frames.prepare` already.
    """

    frames: Pixels
    duration_s: float
    source: str
    prepared: bool = False


@dataclass(frozen=True)
class Enrolled:
    """What an enrolment did: clips added to `name`, how many it has now, the text name used (None: without).

    `forced`: reason codes that were overridden. `notes`: what a person should know about the class, in sentences.
    """

    name: str
    added: int
    clips: int
    text_name: str | None
    forced: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Enroller:
    """Adds clips to a gallery with a bundle's graphs."""

    def __init__(self, gallery: Gallery, encoder: Encoder) -> None:
        self.gallery = gallery
        self.encoder = encoder
        self._index: Index | None = None

    def enroll(
        self,
        name: str,
        clips: PathOrName | Sequence[PathOrName],
        text: str | None = None,
        no_text: bool = False,
        force: bool = False,
        progress: Callable[[int], None] | None = None,
        roi: Roi | None = None,
    ) -> Enrolled:
        """See `Recognizer.enroll`."""
        takes = (self._read(path, roi) for path in _listed(clips))
        return self._enroll(valid_name(name), takes, text, no_text, force, progress)

    def enroll_takes(
        self, name: str, takes: Sequence[Take], text: str | None = None, no_text: bool = False, force: bool = False
    ) -> Enrolled:
        """`enroll` for clips in memory. Raises `frames-invalid`, `clip-too-short` and what `enroll` raises."""
        return self._enroll(valid_name(name), takes, text, no_text, force, None)

    def add_negatives(
        self,
        clips: PathOrName | Sequence[PathOrName],
        force: bool = False,
        progress: Callable[[int], None] | None = None,
        roi: Roi | None = None,
    ) -> int:
        """See `Recognizer.add_negatives`."""
        takes = (self._read(path, roi) for path in _listed(clips))
        made = self._encode(NEGATIVE, takes, None, None, progress)
        return len(self._add(made, force))

    def check_name(self, name: str, text: str | None = None, no_text: bool = False) -> None:
        """Raises what `enroll` would for its names, before anybody records a clip for nothing."""
        text_name = self._text_name(valid_name(name), text, no_text)
        if text_name is not None:
            self.encoder.text_feature(text_name)

    def _enroll(
        self,
        name: str,
        takes: Iterable[Take],
        text: str | None,
        no_text: bool,
        force: bool,
        progress: Callable[[int], None] | None,
    ) -> Enrolled:
        text_name = self._text_name(name, text, no_text)
        feature = None if text_name is None else self.encoder.text_feature(text_name)
        made = self._add(self._encode(name, takes, text_name, feature, progress), force)
        forced = tuple(dict.fromkeys(code for clip in made for code in clip.forced))
        # Another program may have removed the class again by now.
        info = next((one for one in self.gallery.classes() if one.name == name), None)
        notes = self._notes(name, info is not None and info.stale)
        return Enrolled(name, len(made), info.clips if info else 0, text_name, forced, tuple(notes))

    def _encode(
        self,
        name: str,
        takes: Iterable[Take],
        text_name: str | None,
        text: Floats | None,
        progress: Callable[[int], None] | None,
    ) -> list[EnrolledClip]:
        made: list[EnrolledClip] = []
        for take in takes:
            made.append(self._enrolled_clip(name, take, text_name, text))
            if progress:
                progress(len(made))
        if not made:
            raise MaclipError("clip-missing", "There is no clip to enroll.", "Give at least one clip.")
        return made

    def _add(self, made: list[EnrolledClip], force: bool) -> list[EnrolledClip]:
        """Check and keep clips of one class: all or none; as kept. Raises `clip-rejected`."""
        prototypes = np.stack([make_prototype(self.encoder, clip) for clip in made])
        _require_numbers(made, prototypes)
        faults = misplaced(self.gallery, self.encoder, self._current_index(), made, prototypes)
        if made[0].class_name != NEGATIVE:  # a still, dark room is what negatives are for
            faults = [
                quality.faults(clip.quality, clip.duration_s) + more for clip, more in zip(made, faults, strict=True)
            ]
        if any(faults) and not force:
            raise ClipRejected(
                [Rejection(clip.source, tuple(found)) for clip, found in zip(made, faults, strict=True) if found]
            )
        made = [
            replace(clip, forced=tuple(reason.code for reason in found))
            for clip, found in zip(made, faults, strict=True)
        ]
        self.gallery.add(made, prototypes, self.encoder.bundle.graph_digest("prototype"), force=force)
        return made

    def _notes(self, name: str, stale: bool) -> list[str]:
        notes = []
        if stale:
            notes.append(
                f"The calibrated limit of {name!r} does not count any more, for its clips changed: "
                "calibrate again with `maclip-run calibrate`."
            )
        unlimited = self.encoder.bundle.manifest.limit is None and not self.gallery.negatives()
        if unlimited and len({member.digest for member in self.gallery.members()}) == 1:
            notes.append(
                "One clip cannot tell strangers yet: everything will be called "
                f"{name!r} until there is a second clip, another class, a negative or a calibration."
            )
        return notes

    def _current_index(self) -> Index | None:
        if self._index is None or self._index.version != self.gallery.version:
            self._index = build_index(self.gallery, self.encoder)
        return self._index

    def _read(self, path: PathOrName, roi: Roi | None) -> Take:
        manifest = self.encoder.bundle.manifest

        def prepared(frame: Pixels) -> Pixels:
            return prepare(frame if roi is None else roi.view(frame), manifest.preprocess)

        clip = read_clip(
            local_path(path),
            partial(segment_indices, frames=manifest.frames),
            prepared,
        )
        return Take(clip.frames, clip.duration_s, redact(path), prepared=True)

    def _enrolled_clip(self, name: str, take: Take, text_name: str | None, text: Floats | None) -> EnrolledClip:
        frames = self._sampled(take)
        query = self.encoder.features(frames[None])[0]
        features = query if text is None else self.encoder.features(frames[None], text[None])[0]
        return EnrolledClip(
            class_name=name,
            text_name=text_name,
            text=text,
            features=features,
            query=query,
            digest=hashlib.sha256(frames.tobytes()).hexdigest(),
            source=take.source,
            duration_s=take.duration_s,
            quality=quality.figures(frames),
            thumbnail=quality.thumbnail(frames),
        )

    def _sampled(self, take: Take) -> Pixels:
        """T prepared frames, chosen and made as those of a file are."""
        manifest, frames = self.encoder.bundle.manifest, take.frames
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape[1:]:
            raise MaclipError(
                "frames-invalid",
                f"Frames are uint8 [N, H, W, 3], not {frames.dtype} {list(frames.shape)}.",
                "Give RGB bytes.",
            )
        if not 0 < take.duration_s < float("inf"):
            raise MaclipError("frames-invalid", f"A clip cannot last {take.duration_s} s.", "Give seconds above 0.")
        if len(frames) < manifest.frames:
            raise MaclipError(
                "clip-too-short",
                f"{take.source} has {len(frames)} frames; at least {manifest.frames} are needed.",
                "Give a longer clip of the action.",
            )
        chosen = frames[segment_indices(len(frames), manifest.frames)]
        if take.prepared:
            return chosen
        return np.stack([prepare(frame, manifest.preprocess) for frame in chosen])

    def _text_name(self, name: str, text: str | None, no_text: bool) -> str | None:
        if text is not None and no_text:
            raise MaclipError("text-conflict", "A text and no text were asked for.", "Give only one of them.")
        if text is not None or no_text:
            return text
        known = {info.name: info.text_name for info in self.gallery.classes()}
        return known.get(name, name)


def _listed(clips: PathOrName | Sequence[PathOrName]) -> list[PathOrName]:
    return [clips] if isinstance(clips, (str, PathLike)) else list(clips)


def _require_numbers(clips: Sequence[EnrolledClip], prototypes: Floats) -> None:
    """One clip that overflowed would make every answer of the gallery nothing. Raises `features-invalid`."""
    for clip, prototype in zip(clips, prototypes, strict=True):
        text = clip.text if clip.text is not None else clip.features
        if not all(np.isfinite(array).all() for array in (clip.features, clip.query, text, prototype)):
            raise MaclipError(
                "features-invalid",
                f"{clip.source} cannot be enrolled: the network's answer to it is not finite.",
                "Try --device cpu; if that does not help, export the bundle again in float32.",
            )
