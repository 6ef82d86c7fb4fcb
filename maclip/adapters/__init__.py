"""Adapters in the blocks of a frozen image tower (docs/method.md, section 2).

Every module of this package is imported: to add a kind of adapter, add a file with `@adapter("name")`.
"""

from __future__ import annotations

from maclip.adapters.registry import ADAPTERS, adapter, build_adapted_block
from maclip.registry import import_all

__all__ = ["ADAPTERS", "adapter", "build_adapted_block"]

import_all(__name__, __path__)
