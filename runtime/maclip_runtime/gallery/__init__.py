"""The gallery: enrolled clips, negatives and calibrated limits in one SQLite file."""

from maclip_runtime.gallery.naming import valid_name
from maclip_runtime.gallery.rows import NEGATIVE, ClassInfo, ClassLimit, EnrolledClip, clips_key
from maclip_runtime.gallery.store import Gallery
from maclip_runtime.gallery.storing import MAX_CLIP_SECONDS

__all__ = [
    "MAX_CLIP_SECONDS",
    "NEGATIVE",
    "ClassInfo",
    "ClassLimit",
    "EnrolledClip",
    "Gallery",
    "clips_key",
    "valid_name",
]
