"""What is sent to a server, frames or the stem's tokens: the rule, and the figures that it needs."""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass

import numpy as np

from maclip_runtime.bundle.manifest import Manifest, TensorSpec

MEASURED_RUNS = 4  # requests until the bandwidth counts as measured, and after which it follows the newest
NEW_SHARE = 4  # a window brings a quarter of its frames: the default hop


@dataclass(frozen=True)
class Loads:
    """Bytes of one window: as T frames of uint8, and as the tokens of T frames in the type that the tower takes.

    Frames are always uint8: the graphs normalise them, so nothing is lost. Tokens are float16 where the bundle's graphs
    take that, else float32, and are sent as they are.
    """

    frames: int
    tokens: int


def loads_of(manifest: Manifest) -> Loads | None:
    """The loads of a bundle with stem and tower; None for one whose single graph takes frames."""
    if "stem" not in manifest.graphs:
        return None
    stem, tower = manifest.graphs["stem"].inputs[0], manifest.graphs["tower"].inputs[0]
    return Loads(manifest.frames * _row_bytes(stem), _row_bytes(tower))


def sends_tokens(loads: Loads, bytes_a_second: float, stem_s: float) -> bool:
    """Whether a window is sooner on the server as tokens.

    Tokens cost the machine its own stem for the frames that a window brings (`stem_s`), and save the difference of
    the bytes. So they are sent only where they are smaller than frames (ViT-B/32 and larger patches, in half
    precision) and the saved bytes would travel for longer than the stem runs.
    """
    return (loads.frames - loads.tokens) / bytes_a_second > stem_s


class LinkMeter:
    """Measures a connection: the shortest round trip, and the bandwidth of the newest requests."""

    def __init__(self) -> None:
        self.round_trip_s = math.inf
        self.server_s = 0.0  # what the server needs for a request, by its own statistics
        self._speeds: deque[float] = deque(maxlen=MEASURED_RUNS)

    def trip(self, seconds: float) -> None:
        """An empty request took so long."""
        self.round_trip_s = min(self.round_trip_s, seconds)

    def request(self, sent: int, seconds: float) -> None:
        """A request of `sent` bytes took so long, the server's own work included."""
        travelled = seconds - self.server_s - (self.round_trip_s if math.isfinite(self.round_trip_s) else 0.0)
        self._speeds.append(sent / max(travelled, 1e-6))

    @property
    def bytes_a_second(self) -> float | None:
        """The median of the newest requests; None until there are enough."""
        return statistics.median(self._speeds) if len(self._speeds) == MEASURED_RUNS else None


def _row_bytes(tensor: TensorSpec) -> int:
    return math.prod(n for n in tensor.shape if isinstance(n, int)) * np.dtype(tensor.dtype).itemsize
