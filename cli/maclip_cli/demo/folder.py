"""The output folder of the demo: its paths, and protection of other files."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from maclip_runtime.errors import MaclipError

MARKER = ".maclip-demo"  # written first, to recognise the folder of an interrupted demo
FAMILIES = {"motion", "object-motion"}


@dataclass(frozen=True)
class DemoFolder:
    """Paths in the folder `root`."""

    root: Path

    @property
    def clips(self) -> Path:
        """Generated clips, a folder for each family."""
        return self.root / "clips"

    @property
    def video(self) -> Path:
        """The long generated video, with its true segments beside it as JSON."""
        return self.root / "clips" / "long.mp4"

    @property
    def run(self) -> Path:
        """The exported run."""
        return self.root / "run"

    @property
    def runs(self) -> Path:
        """The other runs."""
        return self.root / "runs"

    @property
    def bundle(self) -> Path:
        """The exported bundle."""
        return self.root / "bundle"

    @property
    def gallery(self) -> Path:
        """The gallery of enrolled classes."""
        return self.root / "gallery.db"

    @property
    def results(self) -> Path:
        """The results as JSON."""
        return self.root / "results.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.root / "report.html"

    def begin(self) -> None:
        """Create the folder, or remove the output of an earlier demo from it; other files in it stay.

        Raises `output-exists` and `output-unwritable`.
        """
        root = self.root
        if root.exists() and (not root.is_dir() or (any(root.iterdir()) and not self._is_demo())):
            raise MaclipError(
                "output-exists",
                f"{root} already exists and is not the folder of an earlier demo.",
                "Choose another folder: maclip demo --out DIR.",
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
                "Choose a folder that you can write to: maclip demo --out DIR.",
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
