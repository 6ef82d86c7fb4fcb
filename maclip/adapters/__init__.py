"""Adapters of a frozen image tower: in its blocks, or a network beside it (docs/method.md, sections 2 and 11).

Every file of this folder is imported, so a new kind is one file with `@adapter("name")`: docs/extending.md.
"""

from __future__ import annotations

from maclip.adapters.registry import (
    ADAPTERS,
    SideNetwork,
    adapter,
    build_adapted_block,
    build_side_network,
    foreign_options,
    is_side_network,
    refuse_foreign_options,
)
from maclip.registry import import_all

__all__ = [
    "ADAPTERS",
    "SideNetwork",
    "adapter",
    "build_adapted_block",
    "build_side_network",
    "foreign_options",
    "is_side_network",
    "refuse_foreign_options",
]

import_all(__name__, __path__)
