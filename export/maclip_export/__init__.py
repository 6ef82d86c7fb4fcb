"""Export a model as a bundle of ONNX graphs, each checked against torch.

>>> from maclip_export import ExportOptions, export
>>> report = export("run", "bundle", ExportOptions(precision="fp16"))  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maclip_export.api import export
    from maclip_export.bundle.names import read_names
    from maclip_export.options import ExportOptions
    from maclip_export.report import Report

__all__ = ["ExportOptions", "Report", "export", "read_names"]

_HOMES = {"export": "api", "read_names": "bundle.names", "ExportOptions": "options", "Report": "report"}


def __getattr__(name: str) -> Any:
    """Import what is asked for and no more: `export` brings torch, onnx and onnxruntime."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"maclip_export.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'maclip_export' has no attribute {name!r}")
