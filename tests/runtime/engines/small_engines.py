"""Building small engines with the real library, for the tests of building and of running them."""

from __future__ import annotations

from pathlib import Path

from maclip_runtime.bundle.manifest import Manifest
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.tensorrt.cache import EngineCache
from maclip_runtime.engines.tensorrt.engines import PORTABLE, Built, build_all
from maclip_runtime.engines.tensorrt.library import find_library
from maclip_runtime.engines.tensorrt.profile import MaxSizes

SMALL = MaxSizes(clips=2, classes=64)


def built(bundle: Path, cache: EngineCache, max_sizes: MaxSizes = SMALL, *, trust_engines: bool = False) -> list[Built]:
    opened = Bundle.open(bundle, trust_engines=trust_engines)
    return list(build_all(opened, find_library("rtx"), PORTABLE, cache, max_sizes=max_sizes))


def origins(bundle: Path, cache: EngineCache, max_sizes: MaxSizes = SMALL, *, trust_engines: bool = False) -> set[str]:
    return {one.origin for one in built(bundle, cache, max_sizes, trust_engines=trust_engines)}


def manifest_of(bundle: Path) -> Manifest:
    return Manifest.from_json((bundle / "manifest.json").read_text())
