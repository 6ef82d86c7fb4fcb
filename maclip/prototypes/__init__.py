"""Modules that make prototypes of frame features (docs/method.md, section 3): plug and play.

Every file of this folder is imported, so that a file with `@prototype("name")` in it is all that a new one takes.
"""

from __future__ import annotations

from maclip.prototypes.registry import PROTOTYPES, build_prototype_module, prototype
from maclip.registry import import_all

__all__ = ["PROTOTYPES", "build_prototype_module", "prototype"]

import_all(__name__, __path__)
