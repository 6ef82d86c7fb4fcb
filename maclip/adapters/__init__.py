"""Adapters in the blocks of a frozen image tower (docs/method.md, section 2).

Every file of this folder is imported, so a new kind is one file with `@adapter("name")`: docs/extending.md.
"""

from __future__ import annotations

from maclip.adapters.registry import ADAPTERS, adapter, build_adapted_block
from maclip.registry import import_all

__all__ = ["ADAPTERS", "adapter", "build_adapted_block"]

import_all(__name__, __path__)
