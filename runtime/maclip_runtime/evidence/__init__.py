"""Evidence of events: for each a JPEG strip and a short clip with pre-roll, named by the event's id.

`recorder` is the callback that keeps the last seconds of each source, `shots` cuts them to events, `folder` writes and
keeps a limit on size and age.
"""

from maclip_runtime.evidence.options import EvidenceOptions
from maclip_runtime.evidence.recorder import Evidence

__all__ = ["Evidence", "EvidenceOptions"]
