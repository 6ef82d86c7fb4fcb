"""Adapters in the blocks of a frozen image tower (docs/method.md, section 2): plug and play.

Every file of this folder is imported, so that a file with `@adapter("name")` in it is all that a new kind takes.
"""

from __future__ import annotations

from maclip.adapters.registry import ADAPTERS, adapter, build_adapted_block
from maclip.registry import import_all

__all__ = ["ADAPTERS", "adapter", "build_adapted_block"]

import_all(__name__, __path__)
