"""Command lines that fix a finding, ready to be run in a shell."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from maclip_runtime.diagnosis.samples import Sample
from maclip_runtime.gallery import NEGATIVE


@dataclass(frozen=True)
class Commands:
    """Command lines for this bundle and gallery, ready to be run in a shell."""

    bundle: str
    gallery: str

    def enroll(self, name: str, source: str = "") -> str:
        """Enroll a clip in the class `name`; CLIP where its file is not known, or no longer there."""
        clip = source if source and os.path.exists(source) else "CLIP"
        return self._line("enroll", [name, clip], bundle=self.bundle, gallery=self.gallery)

    def remove(self, clip: Sample) -> str:
        """Remove a clip from its class or from the negatives."""
        names = [clip.class_name] if clip.class_name != NEGATIVE else []
        flags = [] if names else ["--negatives"]
        return self._line("gallery remove", names, *flags, clip=str(clip.id), gallery=self.gallery)

    def remove_class(self, name: str) -> str:
        """Remove a class."""
        return self._line("gallery remove", [name], gallery=self.gallery)

    def show(self, name: str, sheet: str = "sheet.png") -> str:
        """Draw the clips of a class."""
        return self._line("gallery show", [name], sheet=sheet, gallery=self.gallery)

    def calibrate(self) -> str:
        """Measure limits against background."""
        return self._line("calibrate", ["BACKGROUND"], bundle=self.bundle, gallery=self.gallery)

    def _line(self, command: str, words: Sequence[str], *flags: str, **options: str) -> str:
        after = [*flags, *(part for name, value in options.items() for part in (f"--{name}", shlex.quote(value)))]
        dashed = any(word.startswith("-") for word in words)
        quoted = [shlex.quote(word) for word in words]
        parts = [*after, "--", *quoted] if dashed else [*quoted, *after]
        return " ".join(["maclip-run", command, *parts])
