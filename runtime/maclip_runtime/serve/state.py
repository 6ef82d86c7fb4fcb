"""What the server remembers between two starts: the token's hash and the regions, in a file beside the gallery."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import Roi

SUFFIX = ".serve.json"


class State:
    """A small JSON file, for its owner only. Raises `output-unwritable`, `state-corrupt`."""

    def __init__(self, gallery: Path) -> None:
        self.path = gallery.with_name(gallery.name + SUFFIX)
        self._lock = threading.Lock()
        self._facts: dict[str, Any] = {}
        try:
            self._facts = json.loads(self.path.read_text("utf-8"))
            if not isinstance(self._facts, dict):
                raise ValueError
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise MaclipError(
                "state-corrupt", f"{self.path} cannot be read.", "Remove it; the server then makes another token."
            ) from error

    @property
    def token_hash(self) -> str | None:
        """SHA-256 of the token, in hexadecimal; None before one was made."""
        found = self._facts.get("token_sha256")
        return found if isinstance(found, str) else None

    def keep_token_hash(self, digest: str) -> None:
        """Remember a token's hash."""
        self._write(token_sha256=digest)

    def regions(self) -> dict[str, Roi]:
        """The regions that were drawn, by source."""
        found: dict[str, Roi] = {}
        stored = self._facts.get("regions")
        for name, parts in stored.items() if isinstance(stored, dict) else ():
            with suppress(MaclipError, TypeError):
                found[str(name)] = Roi(*parts)
        return found

    def keep_region(self, source: str, roi: Roi | None) -> None:
        """Remember a region; None: the whole picture."""
        kept = {name: [one.x, one.y, one.width, one.height] for name, one in self.regions().items() if name != source}
        if roi is not None:
            kept[source] = [roi.x, roi.y, roi.width, roi.height]
        self._write(regions=kept)

    def _write(self, **facts: Any) -> None:
        with self._lock:
            self._facts.update(facts)
            part = self.path.with_name(f"{self.path.name}.part")
            try:
                descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump(self._facts, file)
                os.replace(part, self.path)
            except OSError as error:
                raise MaclipError(
                    "output-unwritable",
                    f"{self.path} cannot be written ({error.strerror}).",
                    "Give a gallery in a folder that you may write to.",
                ) from error
