"""A bundle and its encoder, opened as the benchmark's engine options say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maclip_runtime.bundle.opening import Bundle
    from maclip_runtime.engines.encoder import Encoder


def open_bundle(bundle: str, engine: dict[str, Any]) -> Bundle:
    """The bundle at a path; its compiled engines are loaded only if `trust_engines` says so."""
    from maclip_runtime.bundle.opening import Bundle

    return Bundle.open(bundle, trust_engines=engine.get("trust_engines", False))


def open_encoder(bundle: Bundle, engine: dict[str, Any]) -> Encoder:
    """The encoder of an open bundle, on the device of `engine`."""
    from maclip_runtime.engines.encoder import Encoder

    return Encoder(bundle, **{name: value for name, value in engine.items() if name != "trust_engines"})
