"""The demo's folder: what lies where, and that nobody else's files are ever replaced."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from maclip_runtime.errors import MaclipError

MARKER = ".maclip-demo"  # written first: an interrupted demo can be told from a folder of something else
FAMILIES = {"motion", "object-motion"}


@dataclass(frozen=True)
class DemoFolder:
    """The paths under the folder `root`."""

    root: Path

    @property
    def clips(self) -> Path:
        """Generated clips: a folder for each family."""
        return self.root / "clips"

    @property
    def video(self) -> Path:
        """The long generated video; its true segments lie beside it as JSON."""
        return self.root / "clips" / "long.mp4"

    @property
    def run(self) -> Path:
        """The run that is exported."""
        return self.root / "run"

    @property
    def runs(self) -> Path:
        """All other runs."""
        return self.root / "runs"

    @property
    def bundle(self) -> Path:
        """The exported bundle."""
        return self.root / "bundle"

    @property
    def gallery(self) -> Path:
        """The enrolled classes."""
        return self.root / "gallery.db"

    @property
    def results(self) -> Path:
        """The figures, for programs."""
        return self.root / "results.json"

    @property
    def report(self) -> Path:
        """The report, for people."""
        return self.root / "report.html"

    def begin(self) -> None:
        """Make the folder, empty of an earlier demo. Raises `output-exists` and `output-unwritable`.

        Of an earlier demo only what a demo makes is removed; whatever else lies there stays.
        """
        root = self.root
        if root.exists() and (not root.is_dir() or (any(root.iterdir()) and not self._is_demo())):
            raise MaclipError(
                "output-exists",
                f"{root} is already there and is not an earlier demo.",
                "Choose another place: maclip demo --out DIR.",
            )
        try:
            root.mkdir(parents=True, exist_ok=True)
            (root / MARKER).touch()
            for path in (self.report, self.results, self.gallery, *self._gallery_side_files()):
                path.unlink(missing_ok=True)
            for folder in (self.clips, self.run, self.runs, self.bundle):
                if folder.exists():
                    shutil.rmtree(folder)
        except OSError as error:
            raise MaclipError(
                "output-unwritable",
                f"{root} cannot be written ({error.strerror or error}).",
                "Choose a place you may write to: maclip demo --out DIR.",
            ) from error

    def _gallery_side_files(self) -> list[Path]:
        return [self.gallery.with_name(self.gallery.name + suffix) for suffix in ("-wal", "-shm")]

    def _is_demo(self) -> bool:
        if (self.root / MARKER).is_file():
            return True
        try:
            results = json.loads(self.results.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(results, dict) and set(results) == FAMILIES
