"""Models and clips for the tests of the model and its training."""

from __future__ import annotations

from drawn_fixtures import drawn_data, make_model

__all__ = ["drawn_data", "make_model"]
