"""What tests of shared galleries need: clips, and what a gallery holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import FRAMES, WIDTH

from maclip_runtime import EnrolledClip, MaclipError
from maclip_runtime.gallery.sharing import follow, publish
from maclip_runtime.gallery.sharing.journal import SharedGallery
from maclip_runtime.gallery.sheet import decoded

INDEX = "/fleet/index.json"


def picture() -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG")
    assert decoded(stream.getvalue()) is not None
    return stream.getvalue()


def clip_of(name: str, seed: int) -> EnrolledClip:
    features = np.random.default_rng(seed).normal(size=(FRAMES, WIDTH)).astype(np.float32)
    return EnrolledClip(
        name, None, None, features, features, f"digest-{seed}", f"{seed}.mp4", 1.0, {"sharp": 1.0}, picture()
    )


def enroll(gallery: SharedGallery, *clips: tuple[str, int]) -> None:
    made = [clip_of(*one) for one in clips]
    gallery.add(made, np.stack([one.features for one in made]), "graph")


def held(gallery: SharedGallery) -> set[tuple[str, str]]:
    return {(clip.class_name, clip.digest) for clip in (*gallery.clips(), *gallery.negatives())}


def refused(code: str, do: Callable[[], object]) -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        do()
    assert caught.value.code == code, caught.value
    return caught.value


def both(a: SharedGallery, b: SharedGallery, url: str, keys: Path) -> None:
    """Each publishes, and then each follows."""
    for one in (a, b):
        publish(one, url, key=keys / "own")
    for one in (a, b):
        follow(one, url, trust=[keys / "own.pub"])
