"""Prototype modules: frame features to prototypes (docs/method.md, section 3).

Every module of this package is imported: to add a prototype module, add a file with `@prototype("name")`.
"""

from __future__ import annotations

from maclip.prototypes.registry import PROTOTYPES, build_prototype_module, prototype
from maclip.registry import import_all

__all__ = ["PROTOTYPES", "build_prototype_module", "prototype"]

import_all(__name__, __path__)
