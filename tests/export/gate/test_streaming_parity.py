"""A stream's features, each frame through the stem once, equal those of its windows computed anew."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import write_bundle
from videos import COLOURS, color_frames, write_video

from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.reading.frames import prepare
from maclip_runtime.sources import Frame, Source, open_source
from maclip_runtime.streaming import Grid, watch_features


class CountingEngine:
    """Counts the rows that pass each graph."""

    def __init__(self, engine: object) -> None:
        self._engine = engine
        self.rows: Counter[str] = Counter()

    def run(self, graph: str, **inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        self.rows[graph] += len(next(iter(inputs.values())))
        return self._engine.run(graph, **inputs)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds at 12 frames a second, every frame another one."""
    parts = [color_frames(color, 32, seed) for seed, color in enumerate(COLOURS)]
    return write_video(tmp_path_factory.mktemp("video") / "v.mp4", np.concatenate(parts), rate=12)


def check(encoder: Encoder, source: Source, frames: list[Frame], hop_s: float) -> None:
    """Every window of `source` is equal to its frames, picked by hand, through `Encoder.features`."""
    manifest = encoder.bundle.manifest
    grid = Grid.of(manifest.frames, 2.0, hop_s)
    ready = partial(prepare, preprocess=manifest.preprocess)
    encoder.engine = counted = CountingEngine(encoder.engine)  # type: ignore[assignment]
    seen = list(watch_features(source, encoder, grid, ready))
    rows, counted.rows = counted.rows, Counter()
    assert len(seen) == int((8.0 - 2.0) / grid.hop_s + 1e-6) + 1
    sampled: set[int] = set()
    for number, window in enumerate(seen):
        assert window.start_s == pytest.approx(number * grid.hop_s)
        centres = window.start_s + (np.arange(manifest.frames) + 0.5) * 2.0 / manifest.frames
        indices = [max(i for i, frame in enumerate(frames) if frame.time_s <= centre + 1e-6) for centre in centres]
        sampled.update(indices)
        expected = encoder.features(np.stack([ready(frames[i].pixels) for i in indices])[None])[0]
        assert np.abs(window.features - expected).max() <= 1e-5 * max(1.0, float(np.abs(expected).max()))
    if encoder.has_stem:
        assert rows == {"stem": len(sampled), "tower": len(seen)}
    else:
        assert rows == {"visual": len(seen)}


def read(video: Path) -> list[Frame]:
    with open_source(video) as source:
        return list(source)


@pytest.mark.parametrize("hop_s", [0.25, 0.5, 2.0, 3.0])
@pytest.mark.parametrize("split", [True, False])
def test_drawn_bundle(video: Path, tmp_path: Path, split: bool, hop_s: float) -> None:
    encoder = Encoder(Bundle.open(write_bundle(tmp_path / "b", split=split)), "cpu")
    with open_source(video) as source:
        check(encoder, source, read(video), hop_s)


@pytest.mark.parametrize("hop_s", [0.25, 0.5])
def test_bundle_of_an_adapted_clip(video: Path, shallow: tuple[object, Path], hop_s: float) -> None:
    with open_source(video) as source:
        check(Encoder(Bundle.open(shallow[1]), "cpu"), source, read(video), hop_s)
