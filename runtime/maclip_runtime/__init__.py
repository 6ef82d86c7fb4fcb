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
    from maclip_runtime.archive import Archive
    from maclip_runtime.bundle.opening import Bundle
    from maclip_runtime.callbacks import Callbacks
    from maclip_runtime.decisions import Classification, Decisions, Event, Verdict
    from maclip_runtime.diagnosis.report import Diagnosis
    from maclip_runtime.errors import MaclipError
    from maclip_runtime.evidence import Evidence, EvidenceOptions
    from maclip_runtime.gallery import ClassInfo, EnrolledClip, Gallery
    from maclip_runtime.limits.calibrate import Calibration
    from maclip_runtime.matching.enrolment import Enrolled
    from maclip_runtime.overlay import Overlay
    from maclip_runtime.reading.clip import Clip, read_clip
    from maclip_runtime.reading.quality import ClipRejected
    from maclip_runtime.recognizer import Recognizer
    from maclip_runtime.sinks import SinkOptions, open_sink
    from maclip_runtime.sources import Frame, Roi, SourceOptions, SourceState, SourceStatus, open_source, redact
    from maclip_runtime.streaming import Stream

# Loaded at first use: a command's --help need not wait for numpy.
_HOME = {
    "Archive": "archive",
    "Bundle": "bundle.opening",
    "Calibration": "limits.calibrate",
    "Callbacks": "callbacks",
    "ClassInfo": "gallery",
    "Classification": "decisions",
    "Clip": "reading.clip",
    "ClipRejected": "reading.quality",
    "Decisions": "decisions",
    "Diagnosis": "diagnosis.report",
    "Enrolled": "matching.enrolment",
    "EnrolledClip": "gallery",
    "Event": "decisions",
    "Evidence": "evidence",
    "EvidenceOptions": "evidence",
    "Frame": "sources",
    "Gallery": "gallery",
    "MaclipError": "errors",
    "Overlay": "overlay",
    "Recognizer": "recognizer",
    "Roi": "sources",
    "SinkOptions": "sinks",
    "SourceOptions": "sources",
    "SourceState": "sources",
    "SourceStatus": "sources",
    "Stream": "streaming",
    "Verdict": "decisions",
    "open_sink": "sinks",
    "open_source": "sources",
    "read_clip": "reading.clip",
    "redact": "sources",
}

__all__ = [
    "Archive",
    "Bundle",
    "Calibration",
    "Callbacks",
    "ClassInfo",
    "Classification",
    "Clip",
    "ClipRejected",
    "Decisions",
    "Diagnosis",
    "Enrolled",
    "EnrolledClip",
    "Event",
    "Evidence",
    "EvidenceOptions",
    "Frame",
    "Gallery",
    "MaclipError",
    "Overlay",
    "Recognizer",
    "Roi",
    "SinkOptions",
    "SourceOptions",
    "SourceState",
    "SourceStatus",
    "Stream",
    "Verdict",
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
