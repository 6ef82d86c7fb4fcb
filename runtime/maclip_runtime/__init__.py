"""Enroll actions and recognise them on a stream: what a device runs.

>>> from maclip_runtime import Recognizer
>>> with Recognizer.open("bundle", gallery="robot.db") as recognizer:  # doctest: +SKIP
...     recognizer.enroll("waving", ["wave1.mp4", "wave2.mp4"])
...     print(recognizer.classify("unknown.mp4").label)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maclip_runtime.bundle import Bundle
    from maclip_runtime.calibration import Calibration
    from maclip_runtime.clips import Clip, read_clip
    from maclip_runtime.decisions import Decisions, Event
    from maclip_runtime.encoder import Encoder, Match
    from maclip_runtime.enrolment import Enrolled
    from maclip_runtime.errors import MaclipError
    from maclip_runtime.gallery import ClassInfo, EnrolledClip, Gallery
    from maclip_runtime.listeners import Listener
    from maclip_runtime.overlay import Overlay
    from maclip_runtime.quality import ClipRejected
    from maclip_runtime.recognizer import Classification, Recognizer
    from maclip_runtime.sinks import open_sink
    from maclip_runtime.sources import Frame, Roi, SourceOptions, open_source, redact

# Loaded when first asked for: a command's --help need not wait for numpy.
_HOME = {
    "ClipRejected": "quality",
    "Calibration": "calibration",
    "Bundle": "bundle",
    "ClassInfo": "gallery",
    "Classification": "recognizer",
    "Clip": "clips",
    "Decisions": "decisions",
    "Encoder": "encoder",
    "Enrolled": "enrolment",
    "EnrolledClip": "gallery",
    "Event": "decisions",
    "Frame": "sources",
    "Gallery": "gallery",
    "MaclipError": "errors",
    "Listener": "listeners",
    "Match": "encoder",
    "Overlay": "overlay",
    "Recognizer": "recognizer",
    "Roi": "sources",
    "SourceOptions": "sources",
    "open_sink": "sinks",
    "open_source": "sources",
    "read_clip": "clips",
    "redact": "sources",
}

__all__ = [
    "Bundle",
    "Calibration",
    "ClassInfo",
    "Classification",
    "Clip",
    "ClipRejected",
    "Decisions",
    "Encoder",
    "Enrolled",
    "EnrolledClip",
    "Event",
    "Frame",
    "Gallery",
    "Listener",
    "MaclipError",
    "Match",
    "Overlay",
    "Recognizer",
    "Roi",
    "SourceOptions",
    "open_sink",
    "open_source",
    "read_clip",
    "redact",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
