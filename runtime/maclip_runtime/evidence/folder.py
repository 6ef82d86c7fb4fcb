"""The folder of evidence: NAME.jpg and NAME.mp4 for each event, within a limit on size and age."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from maclip_runtime.errors import MaclipError
from maclip_runtime.evidence.options import EvidenceOptions
from maclip_runtime.evidence.shots import Shot, decode
from maclip_runtime.overlay.writing import VideoWriter
from maclip_runtime.reading.quality import STRIP_FRAMES, strip

STRIP, CLIP = ".jpg", ".mp4"
NAME = re.compile(r"[0-9a-f]{16}(\.part)?(\.jpg|\.mp4)")
STRIP_HEIGHT = 120  # px
STRIP_QUALITY = 85
DAY_SECONDS = 86400.0


class EvidenceFolder:
    """Writes and removes evidence. Only files that are named like evidence are ever touched."""

    def __init__(self, path: Path, options: EvidenceOptions) -> None:
        """Open the folder, which is made if need be. Raises `output-unwritable`."""
        self.path = path
        self._options = options
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not os.access(path, os.W_OK):
                raise PermissionError(13, "it may not be written to")
            self.prune()
        except OSError as error:
            raise MaclipError(
                "output-unwritable",
                f"Evidence cannot be kept in {path} ({error.strerror}).",
                "Give a folder that you may write to.",
            ) from error

    def find(self, name: str) -> Path | None:
        """The file called `name`, for instance "ab48e94bba98cf8f.jpg"; None for any other name and where it is gone."""
        found = NAME.fullmatch(name)
        path = self.path / name
        return path if found and not found[1] and path.is_file() else None

    def write(self, shot: Shot) -> None:
        """Write a shot's strip and clip, both or none, and remove what is too old or too much.

        Raises OSError and `output-unwritable`.
        """
        clip, picture = self.path / f"{shot.id}{CLIP}", self.path / f"{shot.id}{STRIP}"
        part = self.path / f"{shot.id}.part{STRIP}"
        try:
            self._write_clip(clip, shot)
            part.write_bytes(_strip(shot))
            os.replace(part, picture)
        except BaseException:
            for leftover in (clip, part, self.path / f"{shot.id}.part{CLIP}"):
                with suppress(OSError):
                    leftover.unlink()
            raise
        finally:
            self.prune()

    def prune(self) -> None:
        """Remove evidence that is too old, and the oldest while there is too much; events stay whole."""
        events: dict[str, list[tuple[Path, int]]] = {}
        newest: dict[str, float] = {}
        for entry in os.scandir(self.path):
            if NAME.fullmatch(entry.name):
                with suppress(OSError):
                    facts = entry.stat(follow_symlinks=False)
                    event = entry.name[:16]
                    events.setdefault(event, []).append((Path(entry.path), facts.st_size))
                    newest[event] = max(newest.get(event, 0.0), facts.st_mtime)
        total = sum(size for files in events.values() for _, size in files)
        oldest_at = time.time() - self._options.max_days * DAY_SECONDS
        for event in sorted(events, key=lambda one: newest[one]):
            if total <= self._options.max_bytes and newest[event] >= oldest_at:
                break
            for path, size in events[event]:
                with suppress(OSError):
                    path.unlink()
                total -= size

    def _write_clip(self, path: Path, shot: Shot) -> None:
        first = decode(shot.stills[0].jpeg)
        size = (first.shape[1], first.shape[0])
        writer = VideoWriter(path, *size)
        try:
            for still in shot.stills:
                writer.write(decode(still.jpeg, size), still.time_s - shot.stills[0].time_s)
            writer.close()
        except BaseException:
            writer.abandon()
            raise


def _strip(shot: Shot) -> bytes:
    """Up to eight frames of the action side by side, from its beginning on, as a JPEG."""
    import io

    from PIL import Image

    shown = [still for still in shot.stills if still.time_s >= shot.start_s] or shot.stills
    chosen = [shown[at] for at in np.linspace(0, len(shown) - 1, min(len(shown), STRIP_FRAMES)).round().astype(int)]
    first = decode(chosen[0].jpeg)
    frames = np.stack([decode(still.jpeg, (first.shape[1], first.shape[0])) for still in chosen])
    buffer = io.BytesIO()
    Image.fromarray(strip(frames, STRIP_HEIGHT)).save(buffer, "JPEG", quality=STRIP_QUALITY)
    return buffer.getvalue()
