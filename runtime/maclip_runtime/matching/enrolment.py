"""Enrolment: clips of an action become rows of the gallery, all of them or none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike

import numpy as np

from maclip_runtime import values
from maclip_runtime.bundle.names import name_unknown
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery import MAX_CLIP_SECONDS, NEGATIVE, EnrolledClip, Gallery, valid_name
from maclip_runtime.gallery.naming import valid_text
from maclip_runtime.gallery.storing import MAX_MAGNITUDE, usable
from maclip_runtime.matching.clips import read_take, sampled
from maclip_runtime.matching.index import CurrentIndex, make_prototype
from maclip_runtime.matching.placement import misplaced
from maclip_runtime.reading import quality
from maclip_runtime.reading.frames import Floats
from maclip_runtime.reading.quality import ClipRejected, Rejection
from maclip_runtime.reading.take import Take
from maclip_runtime.sources import Roi

PathOrName = str | PathLike[str]


@dataclass(frozen=True)
class Enrolled:
    """What an enrolment did.

    Attributes:
        name: the class.
        added: how many clips were added.
        clips: how many the class has now.
        text_name: the text it is enrolled with, None: without.
        forced: reason codes that were overridden.
        notes: what a person should know about the class, in sentences.
        ids: numbers of the added clips.
    """

    name: str
    added: int
    clips: int
    text_name: str | None
    forced: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()


class Enroller:
    """Adds clips to a gallery with a bundle's graphs. `index` is the recogniser's."""

    def __init__(self, gallery: Gallery, encoder: Encoder, index: CurrentIndex) -> None:
        self._gallery = gallery
        self._encoder = encoder
        self._index = index

    def enroll(
        self,
        name: str,
        clips: PathOrName | Sequence[PathOrName],
        *,
        text: str | None = None,
        no_text: bool = False,
        force: bool = False,
        progress: Callable[[int], None] | None = None,
        roi: Roi | None = None,
    ) -> Enrolled:
        """See `Recognizer.enroll`."""
        return self._enroll(name, self._takes(clips, roi), text, no_text, force, progress)

    def enroll_takes(
        self, name: str, takes: Sequence[Take], *, text: str | None = None, no_text: bool = False, force: bool = False
    ) -> Enrolled:
        """`enroll` for clips in memory. Raises `frames-invalid`, `clip-too-short` and what `enroll` raises."""
        takes = [values.instance(one, Take, "takes") for one in values.items(takes, "takes", "a list of takes")]
        return self._enroll(name, takes, text, no_text, force, None)

    def add_negatives(
        self,
        clips: PathOrName | Sequence[PathOrName],
        *,
        force: bool = False,
        progress: Callable[[int], None] | None = None,
        roi: Roi | None = None,
    ) -> int:
        """See `Recognizer.add_negatives`."""
        force, progress = values.flag(force, "force"), values.function(progress, "progress")
        return len(self._add(self._encode(NEGATIVE, self._takes(clips, roi), None, None, progress), force))

    def add_negative_takes(self, takes: Sequence[Take], *, force: bool = False) -> list[int]:
        """`add_negatives` for clips in memory; the numbers of those added."""
        force = values.flag(force, "force")
        takes = [values.instance(one, Take, "takes") for one in values.items(takes, "takes", "a list of takes")]
        return [clip.id for clip in self._add(self._encode(NEGATIVE, takes, None, None, None), force)]

    def check_name(self, name: str, *, text: str | None = None, no_text: bool = False) -> None:
        """Raises what `enroll` would for its names, before anybody records a clip for nothing."""
        text_name, _ = self._text_name(self._gallery.spelling(valid_name(name)), text, no_text)
        if text_name is not None:
            self._encoder.text_feature(text_name)

    def _takes(self, clips: PathOrName | Sequence[PathOrName], roi: Roi | None) -> Iterator[Take]:
        paths = values.paths(clips, "clips")
        roi = None if roi is None else values.instance(roi, Roi, "roi")
        return (read_take(path, self._encoder.bundle.manifest, roi) for path in paths)

    def _enroll(
        self,
        name: str,
        takes: Iterable[Take],
        text: str | None,
        no_text: bool,
        force: bool,
        progress: Callable[[int], None] | None,
    ) -> Enrolled:
        force, progress = values.flag(force, "force"), values.function(progress, "progress")
        name = self._gallery.spelling(valid_name(name))
        text_name, without = self._text_name(name, text, no_text)
        feature = None if text_name is None else self._encoder.text_feature(text_name)
        made = self._add(self._encode(name, takes, text_name, feature, progress), force)
        forced = tuple(dict.fromkeys(code for clip in made for code in clip.forced))
        # Another program may have removed the class again by now.
        info = next((one for one in self._gallery.classes() if one.name == name), None)
        notes = self._notes(name, info is not None and info.stale)
        return Enrolled(
            name,
            len(made),
            info.clips if info else 0,
            text_name,
            forced,
            (*without, *notes),
            tuple(clip.id for clip in made),
        )

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

    def _enrolled_clip(self, name: str, take: Take, text_name: str | None, text: Floats | None) -> EnrolledClip:
        frames = sampled(take, self._encoder.bundle.manifest)
        seconds = values.number(
            take.duration_s, "The seconds that a clip lasts", code="frames-invalid", above=0, maximum=MAX_CLIP_SECONDS
        )
        query, features = self._encoder.enrolled(frames, text)
        return EnrolledClip(
            class_name=name,
            text_name=text_name,
            text=text,
            features=features,
            query=query,
            digest=hashlib.sha256(frames.tobytes()).hexdigest(),
            source=take.source,
            duration_s=seconds,
            quality=quality.figures(frames),
            thumbnail=quality.thumbnail(frames),
        )

    def _add(self, made: list[EnrolledClip], force: bool) -> list[EnrolledClip]:
        """Check and keep clips of one class, all or none; the clips as kept. Raises `clip-rejected`."""
        prototypes = np.stack([make_prototype(self._encoder, clip) for clip in made])
        _require_finite(made, prototypes)
        faults = misplaced(self._gallery, self._encoder, self._index.get(), made, prototypes)
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
        ids = self._gallery.add(made, prototypes, self._encoder.bundle.graph_digest("prototype"), force=force)
        return [replace(clip, id=number) for clip, number in zip(made, ids, strict=True)]

    def _notes(self, name: str, stale: bool) -> list[str]:
        notes = []
        if stale:
            notes.append(
                f"The calibrated limit of {name!r} no longer counts, because the clips of the class have changed: "
                "calibrate again with `maclip-run calibrate`."
            )
        if self._encoder.bundle.manifest.limit is None and self._is_single():
            notes.append(
                f"With a single clip nothing is unknown yet: everything will be called {name!r} "
                "until there is a second clip, another class, a negative or a calibration."
            )
        return notes

    def _is_single(self) -> bool:
        """Whether the gallery shows only one clip and no negatives, so that nothing limits its answers."""
        return len({member.digest for member in self._gallery.members()}) == 1 and not self._gallery.negatives()

    def _text_name(self, name: str, text: str | None, no_text: bool) -> tuple[str | None, tuple[str, ...]]:
        """The text to enroll with, None: without; and a note if there is none although nobody asked for that.

        As given, else the one that the class has, else its name, if the bundle uses names and can encode it.
        """
        text = None if text is None else valid_text(text)
        no_text = values.flag(no_text, "no_text")
        if text is not None and no_text:
            raise MaclipError("text-conflict", "A text and no text were asked for.", "Give only one of them.")
        if text is not None or no_text:
            return text, ()
        index = self._index.get()
        if index is not None and name in index.groups:
            texts = (member.text_name for member in reversed(index.groups[name]))
            return next((one for one in texts if one is not None), None), ()
        bundle = self._encoder.bundle
        if not bundle.manifest.names.used:
            return None, ()
        if bundle.has_name(name) or bundle.manifest.text_encoder is not None:
            return name, ()
        unknown = name_unknown(bundle.names, name).message.removesuffix(".")
        return None, (f"Enrolled without text: {unknown}. Give one of them with --text to learn from its text too.",)


def _require_finite(clips: Sequence[EnrolledClip], prototypes: Floats) -> None:
    """A single clip that overflowed would spoil every answer of the gallery. Raises `features-invalid`."""
    for clip, prototype in zip(clips, prototypes, strict=True):
        text = clip.text if clip.text is not None else clip.features
        if not all(usable(array) for array in (clip.features, clip.query, text, prototype)):
            raise MaclipError(
                "features-invalid",
                f"{clip.source} cannot be enrolled: its features are not finite, or larger than {MAX_MAGNITUDE:g}.",
                "Try --device cpu; if that does not help, export the bundle again in float32.",
            )
