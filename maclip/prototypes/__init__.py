"""Modules that make prototypes of frame features (docs/method.md, section 3).

Every file of this folder is imported, so a new module is one file with `@prototype("name")`: docs/extending.md.
"""

from __future__ import annotations

from maclip.prototypes.registry import PROTOTYPES, build_prototype_module, prototype
from maclip.registry import import_all

__all__ = ["PROTOTYPES", "build_prototype_module", "prototype"]

import_all(__name__, __path__)
