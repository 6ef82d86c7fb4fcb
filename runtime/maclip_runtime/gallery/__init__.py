"""The gallery: enrolled clips, negatives and calibrated limits in one SQLite file."""

from maclip_runtime.gallery.rows import NEGATIVE, ClassInfo, ClassLimit, EnrolledClip, clips_key, valid_name
from maclip_runtime.gallery.store import Gallery

__all__ = ["NEGATIVE", "ClassInfo", "ClassLimit", "EnrolledClip", "Gallery", "clips_key", "valid_name"]
