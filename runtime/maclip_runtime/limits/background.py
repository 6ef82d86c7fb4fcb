"""Background: windows in which none of the classes happens, cut and encoded as recognition does it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike

import numpy as np

from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.clip import read_clip
from maclip_runtime.reading.frames import Floats, Indices, Pixels, prepare, segment_indices
from maclip_runtime.sources import SourceOptions, is_live, local_path, open_source, redact
from maclip_runtime.streaming import Grid
from maclip_runtime.streaming.network import watch_features

SECONDS_AN_HOUR = 3600.0


@dataclass(frozen=True)
class Background:
    """W windows of background: query features [W, T, D'], which `stretch` [W] of video each is from.

    Windows of one stretch follow each other, and those up to `reach` places apart share frames: an alarm over several
    of them counts once. `seconds`: how much video they speak for. `source` names it, without credentials.
    """

    features: Floats
    stretch: Indices
    seconds: float
    source: str
    reach: int = 1

    @property
    def hours(self) -> float:
        """The same in hours."""
        return self.seconds / SECONDS_AN_HOUR


def see_background(
    encoder: Encoder,
    sources: Sequence[str | PathLike[str] | int],
    window_s: float,
    hop_s: float | None = None,
    seconds: float | None = None,
    progress: Callable[[float], None] | None = None,
    options: SourceOptions | None = None,
) -> Background:
    """Cut each source into windows of `window_s` seconds every `hop_s`; one shorter than a window is one whole clip.

    Of each at most `seconds` are looked at: a camera needs that. `progress` is told how many seconds were seen.
    Raises `option-invalid` for a camera without it, `window-invalid`, and what reading a source raises.
    """
    preprocess = encoder.bundle.manifest.preprocess
    options = options or SourceOptions()
    grid = Grid.of(encoder.bundle.manifest.frames, window_s, hop_s)
    features: list[Floats] = []
    stretch: list[int] = []
    total_s = 0.0
    for number, uri in enumerate(sources):
        if is_live(uri) and seconds is None:
            raise MaclipError(
                "option-invalid",
                f"{redact(uri)} has no end, and how long to look at it was not said.",
                "Give --seconds, for instance 600.",
            )
        seen = 0
        with open_source(uri, options) as opened:
            for window in watch_features(opened, encoder, grid, partial(prepare, preprocess=preprocess)):
                features.append(window.features)
                stretch.append(number)
                seen += 1
                total_s += window.covers_s[1] - window.covers_s[0]
                if progress:
                    progress(total_s)
                if seconds is not None and window.end_s >= seconds:
                    break
        if not seen and not is_live(uri):
            made, duration_s = _whole(encoder, str(uri), options)
            features.append(made)
            stretch.append(number)
            total_s += duration_s
    if not features:
        raise MaclipError(
            "clip-too-short", "The background is shorter than a window.", "Give more of it, or a shorter --window."
        )
    names = ", ".join(redact(uri) for uri in sources)
    return Background(
        np.stack(features),
        np.array(stretch, np.int64),
        total_s,
        names,
        max(1, math.ceil(window_s / grid.hop_s - 1e-6) - 1),
    )


def _whole(encoder: Encoder, uri: str, options: SourceOptions) -> tuple[Floats, float]:
    """A clip shorter than a window, as recognition takes it, and how long it is in seconds."""
    manifest = encoder.bundle.manifest

    def prepared(frame: Pixels) -> Pixels:
        return prepare(options.roi.view(frame) if options.roi else frame, manifest.preprocess)

    clip = read_clip(local_path(uri), partial(segment_indices, frames=manifest.frames), prepared)
    return encoder.features(clip.frames[None])[0], clip.duration_s
