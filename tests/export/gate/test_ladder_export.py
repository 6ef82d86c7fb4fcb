"""A bundle of a ladder: CLIP once a frame, layers along time once a window, and half precision between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from test_streaming_parity import check, read, video

from maclip.evaluation.streams.encoder import encoder_of
from maclip.model.maclip import MaClip
from maclip_export.bundle.writer import contract_of
from maclip_export.gate.trial import drawn_trial
from maclip_export.graphs import graphs_of
from maclip_export.onnx.precision import to_half, to_static_int8
from maclip_export.onnx.sessions import open_session
from maclip_export.onnx.writer import write_onnx
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.engines.opening import open_engine
from maclip_runtime.engines.timing import time_step
from maclip_runtime.sources import open_source

__all__ = ["video"]  # the fixture

Pair = tuple[MaClip, Path]


def test_features_equal_torchs_and_tokens_are_halves(ladder: Pair) -> None:
    model, bundle = ladder
    encoder = Encoder(Bundle.open(bundle), "cpu")
    clips = drawn_trial(model, 2).frames[:3]
    text = torch.nn.functional.normalize(torch.randn(3, model.feature_width), dim=-1)
    tokens = encoder.stem(clips[0].numpy())
    assert tokens.dtype == np.float16
    assert tokens.shape == (8, *model.stem_shape)
    for rows in (None, text):
        given = None if rows is None else rows.numpy()
        found = encoder.features(clips.numpy(), given)
        with torch.no_grad():
            stored = model.stem(clips.flatten(0, 1)).unflatten(0, (3, 8))
            largest = float(np.abs(found).max())
            np.testing.assert_allclose(found, model.tower(stored, rows).numpy(), rtol=0, atol=2e-5 * largest)
            np.testing.assert_allclose(found, model.features(clips, rows).numpy(), rtol=0, atol=1e-3 * largest)
        in_torch = encoder_of(model, ["an action"]).features(clips.numpy(), given)
        np.testing.assert_allclose(in_torch, found, rtol=0, atol=2e-5 * largest)


def test_its_steps_can_be_timed(ladder: Pair) -> None:
    bundle = Bundle.open(ladder[1])
    assert time_step(open_engine(bundle, "cpu"), bundle.manifest, 0.0) > 0


def test_streaming_equals_recomputing(video: Path, ladder: Pair) -> None:
    with open_source(video) as source:
        check(Encoder(Bundle.open(ladder[1]), "cpu"), source, read(video), 0.25)


def test_lower_precisions_stay_near_torch(ladder: Pair, tmp_path: Path) -> None:
    model, _ = ladder
    clips = drawn_trial(model, 2).frames[:4]
    text, has_text = torch.randn(4, model.feature_width), torch.tensor([True, False, True, False])
    with torch.no_grad():
        stored = model.stem(clips.flatten(0, 1))
        expected = model.tower(stored.unflatten(0, (4, 8)), text, has_text)
    feeds = [
        {"frames": clips.flatten(0, 1).numpy()},
        {"tokens": stored.unflatten(0, (4, 8)).numpy(), "text": text.numpy(), "has_text": has_text.numpy()},
    ]
    for precision, lowest in (("fp16", 0.999), ("int8", 0.99)):
        folder = tmp_path / precision
        folder.mkdir()
        found = feeds[0]["frames"]
        for graph, feed in zip(graphs_of(model)[:2], feeds, strict=True):
            path = write_onnx(graph, folder)[0]
            if precision == "fp16":
                to_half(path, matching=False)
            else:
                to_static_int8(path, path, [feed])
            given = feed if graph.name == "stem" else {**feed, "tokens": found.reshape(4, 8, *found.shape[1:])}
            (found,) = open_session(path).run(None, given)
            assert found.dtype == (np.float16 if graph.name == "stem" else np.float32)
        cosine = torch.nn.functional.cosine_similarity(torch.from_numpy(found), expected, dim=-1)
        assert cosine.min() > lowest, precision


def test_the_contract_follows_the_ladder(ladder: Pair) -> None:
    model, _ = ladder
    before = contract_of(model)
    with torch.no_grad():
        model.side.layers[1].gamma.add_(0.1)
        assert contract_of(model) != before
        model.side.layers[1].gamma.sub_(0.1)
