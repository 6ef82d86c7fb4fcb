"""From frames to features, prototypes and distances: the bundle's graphs behind four methods."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maclip_runtime.bundle import Bundle, name_key
from maclip_runtime.engine import as_float, open_engine
from maclip_runtime.frames import Floats, Pixels
from maclip_runtime.text import NameEncoder

Flags = npt.NDArray[np.bool_]

log = logging.getLogger("maclip")


@dataclass(frozen=True)
class Match:
    """B queries against C classes: `distances` (smaller is nearer) and fused `probabilities`, float32 [B, C]."""

    distances: Floats
    probabilities: Floats


class Encoder:
    """Runs a bundle's graphs. T and D' are the bundle's `frames` and `feature_width`."""

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        self.bundle = bundle
        self.engine = open_engine(bundle, device)
        self._names: NameEncoder | None = None

    @property
    def device(self) -> str:
        """Where the graphs run: "cpu", "cuda", "tensorrt" or "rtx"."""
        return self.engine.device

    def features(self, frames: Pixels, text: Floats | None = None) -> Floats:
        """Frame features of B clips: uint8 [B, T, size, size, 3] -> float32 [B, T, D'].

        With `text`, float32 [B, D'], they are support clips that know their class's name; without, queries.
        """
        batch = len(frames)
        has_text = np.full(batch, text is not None)
        text = as_float(text) if text is not None else self._no_text(batch)
        if "visual" in self.bundle.manifest.graphs:
            (features,) = self.engine.run("visual", frames=np.ascontiguousarray(frames), text=text, has_text=has_text)
        else:
            (features,) = self.engine.run("tower", tokens=self._stem(frames), text=text, has_text=has_text)
        return as_float(features)

    def prototypes(self, features: Floats, text: Floats | None = None) -> Floats:
        """A prototype for each clip: features [C, T, D'] (and text [C, D']) -> float32 [C, T, D'].

        A class's prototype is the mean over its clips' prototypes (method.md section 3).
        """
        batch = len(features)
        has_text = np.full(batch, text is not None)
        text = as_float(text) if text is not None else self._no_text(batch)
        (made,) = self.engine.run("prototype", features=as_float(features), text=text, has_text=has_text)
        return as_float(made)

    def match(self, features: Floats, prototypes: Floats, text: Floats, has_text: Flags) -> Match:
        """Compare query features [B, T, D'] with classes: prototypes [C, T, D'], text [C, D'], has_text [C]."""
        distances, probabilities = self.engine.run(
            "match",
            features=as_float(features),
            prototypes=as_float(prototypes),
            text=as_float(text),
            has_text=np.ascontiguousarray(has_text, dtype=np.bool_),
        )
        return Match(as_float(distances), as_float(probabilities))

    def text_feature(self, name: str) -> Floats:
        """The text feature of an action name, float32 [D']: from the vocabulary, else made by the text encoder.

        Raises `name-unknown` where the bundle has neither, and `text-missing` (see `NameEncoder`).
        """
        known = self.bundle.has_name(name) or not name_key(name)
        if known or self.bundle.manifest.text_encoder is None:
            return self.bundle.text_feature(name)
        if self._names is None:
            self._names = NameEncoder(self.bundle, self.engine.run)
        log.info("%r is not in the vocabulary: its text is made by the bundle's text encoder", name)
        # As the vocabulary treats them: "brush_hair" is "brush hair".
        spoken: Floats = self._names.features([" ".join(name.replace("_", " ").split())])[0]
        return spoken

    def _stem(self, frames: Pixels) -> Floats:
        """The blocks before the adapted ones, frame by frame -> tokens [B, T, N+1, D]."""
        batch, length = frames.shape[:2]
        (tokens,) = self.engine.run("stem", frames=np.ascontiguousarray(frames.reshape(-1, *frames.shape[2:])))
        return as_float(tokens.reshape(batch, length, *tokens.shape[1:]))  # (F, N+1, D) -> (B, T, N+1, D)

    def _no_text(self, batch: int) -> Floats:
        return np.zeros((batch, self.bundle.manifest.feature_width), np.float32)
