"""Enrolment: clips of an action become rows of the gallery, all of them or none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike

import numpy as np

from maclip_runtime import quality
from maclip_runtime.clips import read_clip
from maclip_runtime.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.frames import Floats, prepare, segment_indices
from maclip_runtime.gallery import EnrolledClip, Gallery, valid_name
from maclip_runtime.index import make_prototype
from maclip_runtime.sources import local_path, redact

PathOrName = str | PathLike[str]


@dataclass(frozen=True)
class Enrolled:
    """What an enrolment did: clips added to `name`, how many it has now, the text name used (None: without)."""

    name: str
    added: int
    clips: int
    text_name: str | None


class Enroller:
    """Adds clips to a gallery with a bundle's graphs."""

    def __init__(self, gallery: Gallery, encoder: Encoder) -> None:
        self.gallery = gallery
        self.encoder = encoder

    def enroll(
        self,
        name: str,
        clips: PathOrName | Sequence[PathOrName],
        text: str | None = None,
        no_text: bool = False,
        force: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Enrolled:
        """See `Recognizer.enroll`."""
        name = valid_name(name)
        paths = [clips] if isinstance(clips, (str, PathLike)) else list(clips)
        if not paths:
            raise MaclipError("clip-missing", "There is no clip to enroll.", "Give at least one clip.")
        text_name = self._text_name(name, text, no_text)
        feature = None if text_name is None else self.encoder.text_feature(text_name)
        made: list[EnrolledClip] = []
        for path in paths:
            made.append(self._enrolled_clip(name, path, text_name, feature))
            if progress:
                progress(len(made))
        prototypes = np.stack([make_prototype(self.encoder, clip) for clip in made])
        self.gallery.add(made, prototypes, self.encoder.bundle.graph_digest("prototype"), force)
        return Enrolled(name, len(made), len(self.gallery.clips(name)), text_name)

    def _enrolled_clip(self, name: str, path: PathOrName, text_name: str | None, text: Floats | None) -> EnrolledClip:
        manifest = self.encoder.bundle.manifest
        clip = read_clip(
            local_path(path),
            partial(segment_indices, frames=manifest.frames),
            partial(prepare, preprocess=manifest.preprocess),
        )
        query = self.encoder.features(clip.frames[None])[0]
        features = query if text is None else self.encoder.features(clip.frames[None], text[None])[0]
        return EnrolledClip(
            class_name=name,
            text_name=text_name,
            text=text,
            features=features,
            query=query,
            digest=hashlib.sha256(clip.frames.tobytes()).hexdigest(),
            source=redact(path),
            duration_s=clip.duration_s,
            quality=quality.figures(clip.frames),
            thumbnail=quality.thumbnail(clip.frames),
        )

    def _text_name(self, name: str, text: str | None, no_text: bool) -> str | None:
        if text is not None and no_text:
            raise MaclipError("text-conflict", "A text and no text were asked for.", "Give only one of them.")
        if text is not None or no_text:
            return text
        known = {info.name: info.text_name for info in self.gallery.classes()}
        return known.get(name, name)
