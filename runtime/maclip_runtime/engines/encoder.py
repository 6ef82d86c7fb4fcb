"""From frames to features, prototypes and distances: the bundle's graphs as methods."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from maclip_runtime.bundle.names import name_key
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.base import Array, Engine, WindowEngine, as_float
from maclip_runtime.engines.opening import open_engine
from maclip_runtime.engines.text_encoder import NameEncoder
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError, first_line
from maclip_runtime.reading.frames import Floats, Pixels

Flags = npt.NDArray[np.bool_]

UNIT = "unit_"  # a graph's input of this name takes vectors of length 1
TINY = 1e-12  # shorter vectors have cosine 0 with everything, as in maclip.metrics.cosine

log = logging.getLogger("maclip")


@dataclass(frozen=True)
class Match:
    """B queries against C classes: `distances` (smaller is nearer) and fused `probabilities`, float32 [B, C]."""

    distances: Floats
    probabilities: Floats


def unit_rows(rows: Floats) -> Floats:
    """The vectors of `rows` float32 [..., D], each divided by its length; NaN where that is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(np.einsum("...d,...d->...", rows, rows))[..., None]
        lengths = np.where(np.isfinite(lengths), np.maximum(lengths, TINY), np.nan)
        return as_float(rows / lengths)


class Encoder:
    """Runs a bundle's graphs. T and D' are the bundle's `frames` and `feature_width`.

    Safe to use from several threads, which take turns: two runs at once would share the same cores and need twice
    the memory. See `open_engine` for `device`, `allow_fallback` and `threads`. With an `engine`, which `close` closes
    too, the graphs run on that one instead.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "auto",
        allow_fallback: bool = False,
        threads: int | None = None,
        *,
        engine: Engine | None = None,
    ) -> None:
        self.bundle = bundle
        self._recipe = None if engine else (device, allow_fallback, threads)
        self.engine = engine or open_engine(bundle, device, allow_fallback=allow_fallback, threads=threads)
        self._windows = self.engine if isinstance(self.engine, WindowEngine) else None
        self.device = self.engine.device  # where the graphs run: "cpu", "cuda", "tensorrt", ...
        self.closed = False
        self._names: NameEncoder | None = None
        self._turn = threading.RLock()

    def __reduce__(self) -> tuple[Callable[..., Encoder], tuple[object, ...]]:
        """A process that it is sent to opens the bundle's folder itself, once; an engine in memory is sent along."""
        if self._recipe is None:
            return _around, (self.bundle, self.engine)
        bundle = self.bundle
        path = str(bundle.path.resolve())
        return _opened, (path, bundle.trusts_engines, bundle.manifest.contract, *self._recipe)

    def close(self) -> None:
        """Free the loaded graphs, once a run in progress is over. Closing twice does nothing."""
        with self._turn:
            if not self.closed:
                self.closed = True
                self._names = None
                self.engine.close()

    def require_open(self) -> None:
        """Raises `recognizer-closed` after `close`."""
        if self.closed:
            raise MaclipError("recognizer-closed", "The recogniser was closed.", "Open another with Recognizer.open.")

    def features(self, frames: Pixels, text: Floats | None = None) -> Floats:
        """Frame features of B clips: uint8 [B, T, size, size, 3] -> float32 [B, T, D'].

        With `text`, float32 [B, D'], they are support clips that know their class's name; without, queries.
        """
        if self.has_stem:
            tokens = self.stem(frames.reshape(-1, *frames.shape[2:]))
            return self.tower(tokens.reshape(*frames.shape[:2], *tokens.shape[1:]), text)  # (F, N+1, D) -> (B, T, ...)
        return self._visual(frames, *self._texts(len(frames), text))

    def enrolled(self, frames: Pixels, text: Floats | None) -> tuple[Floats, Floats]:
        """Features of one clip as a query and as a support clip: uint8 [T, size, size, 3] -> two float32 [T, D'].

        `text`: float32 [D'], None for a class without text, where both are equal. The stem, which never sees text,
        runs once; what follows runs once for both.
        """
        if text is None:
            query = self.features(frames[None])[0]
            return query, query
        texts, has_text = np.stack([np.zeros_like(text), text]), np.array([False, True])
        if self.has_stem:
            tokens = self.stem(frames)
            query, support = self._tower(np.stack([tokens, tokens]), texts, has_text)  # (T, N+1, D) -> (2, T, D')
        else:
            query, support = self._visual(np.stack([frames, frames]), texts, has_text)
        return query, support

    @property
    def has_stem(self) -> bool:
        """Whether `features` is `stem` and then `tower`, so that a stream can keep the stem's tokens of a frame.

        It may change from one call to the next where the engine is a server (`keeps_pixels`).
        """
        split = "stem" in self.bundle.manifest.graphs
        return split and not (self._windows is not None and self._windows.takes_windows)

    @property
    def keeps_pixels(self) -> bool:
        """Whether a frame that has its tokens may be wanted as pixels again."""
        return self._windows is not None

    def stem(self, frames: Pixels) -> Floats:
        """The part that sees single frames: frames uint8 [F, size, size, 3] -> tokens [F, rows, width].

        They are float32, or float16 where the bundle's graphs say so.
        """
        (tokens,) = self._run("stem", frames=np.ascontiguousarray(frames))
        return np.ascontiguousarray(tokens, self._token_type)

    def tower(self, tokens: Floats, text: Floats | None = None) -> Floats:
        """The part that sees whole clips: tokens [B, T, rows, width] of `stem` -> float32 [B, T, D']; text as above."""
        return self._tower(tokens, *self._texts(len(tokens), text))

    def prototypes(self, features: Floats, text: Floats | None = None) -> Floats:
        """A prototype for each clip: features [C, T, D'] (and text [C, D']) -> float32 [C, T, D'].

        A class's prototype is the mean over its clips' prototypes (docs/method.md, section 3).
        """
        text, has_text = self._texts(len(features), text)
        (made,) = self._run("prototype", features=as_float(features), text=text, has_text=has_text)
        return as_float(made)

    def match(
        self, features: Floats, prototypes: Floats, text: Floats, has_text: Flags, *, prepared: bool = False
    ) -> Match:
        """Compare query features [B, T, D'] with classes: prototypes [C, T, D'], text [C, D'], has_text [C].

        prepared: `prototypes` and `text` are what `prepare_classes` returned. It saves half of the time.
        """
        if not prepared:
            prototypes, text = self.prepare_classes(prototypes, text)
        prefix = UNIT if self._takes_unit else ""
        classes = {f"{prefix}prototypes": as_float(prototypes), f"{prefix}text": as_float(text)}
        flags = np.ascontiguousarray(has_text, dtype=np.bool_)
        distances, probabilities = self._run("match", features=as_float(features), **classes, has_text=flags)
        return Match(as_float(distances), as_float(probabilities))

    def prepare_classes(self, prototypes: Floats, text: Floats) -> tuple[Floats, Floats]:
        """Prototypes [C, T, D'] and text [C, D'] as the match graph takes them: of length 1 if it compares by cosine.

        Preparing twice changes nothing. A vector that is too long for float32 becomes NaN, a zero stays zero.
        """
        return (unit_rows(prototypes), unit_rows(text)) if self._takes_unit else (prototypes, text)

    @property
    def _takes_unit(self) -> bool:
        return any(tensor.name.startswith(UNIT) for tensor in self.bundle.manifest.graphs["match"].inputs)

    def text_feature(self, name: str) -> Floats:
        """The text feature of an action name, float32 [D']: from the vocabulary, else from the text encoder.

        Raises `name-unknown` if the bundle has neither, and `text-missing` (see `NameEncoder`).
        """
        known = self.bundle.has_name(name) or not name_key(name)
        if known or self.bundle.manifest.text_encoder is None:
            return self.bundle.text_feature(name)
        if self._names is None:
            self._names = NameEncoder(self.bundle, self._run)
        log.info("%r is not in the vocabulary: the bundle's text encoder encodes it", name)
        # As the vocabulary treats them: "brush_hair" is "brush hair".
        spoken: Floats = self._names.features([" ".join(name.replace("_", " ").split())])[0]
        return spoken

    @property
    def _token_type(self) -> str:
        """The type of stem tokens; an engine in memory states none."""
        inputs = self.bundle.manifest.graphs["tower"].inputs
        return inputs[0].dtype if inputs else "float32"

    def _visual(self, frames: Pixels, text: Floats, has_text: Flags) -> Floats:
        (features,) = self._run("visual", frames=np.ascontiguousarray(frames), text=text, has_text=has_text)
        return as_float(features)

    def _tower(self, tokens: Floats, text: Floats, has_text: Flags) -> Floats:
        tokens = np.ascontiguousarray(tokens, self._token_type)
        (features,) = self._run("tower", tokens=tokens, text=text, has_text=has_text)
        return as_float(features)

    def _run(self, graph: str, **inputs: Array) -> tuple[Array, ...]:
        with self._turn:
            self.require_open()
            try:
                return self.engine.run(graph, **inputs)
            except MaclipError:
                raise
            except Exception as error:  # engines do not document theirs
                log.debug("%s failed", graph, exc_info=True)
                raise MaclipError(
                    "device-failed",
                    f"The device {self.device!r} could not run the bundle's {graph} graph ({first_line(error)}).",
                    "Try again, or use --device cpu; if that does not help, export the bundle again.",
                    EXIT_MACHINE_LACKS,
                ) from error

    def _texts(self, batch: int, text: Floats | None) -> tuple[Floats, Flags]:
        """The graphs' inputs for `text` [B, D'], or for none: text [B, D'] and has_text [B]."""
        if text is None:
            return np.zeros((batch, self.bundle.manifest.feature_width), np.float32), np.zeros(batch, np.bool_)
        return as_float(text), np.ones(batch, np.bool_)


def _around(bundle: Bundle, engine: Engine) -> Encoder:
    return Encoder(bundle, engine=engine)


@lru_cache(1)
def _opened(
    path: str, trust_engines: bool, contract: str, device: str, allow_fallback: bool, threads: int | None
) -> Encoder:
    """The encoder of a worker, which has one core unless `threads` says more."""
    bundle = Bundle.open(path, trust_engines=trust_engines)
    if bundle.manifest.contract != contract:
        raise MaclipError(
            "contract-mismatch",
            f"The bundle {path} of a worker is another one.",
            "Keep the bundle in a folder that every machine of the cluster has under the same path.",
        )
    return Encoder(bundle, device, allow_fallback, threads or 1)
