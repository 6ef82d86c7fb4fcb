"""The fixtures of the model's tests, for benchmarks that train."""

from __future__ import annotations

from drawn_fixtures import drawn_data, make_model

__all__ = ["drawn_data", "make_model"]
