"""The output folder of the demo: its paths, and protection of other files."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from maclip_cli.demo.plan import FAMILY
from maclip_runtime.errors import MaclipError

MARKER = ".maclip-demo"  # written first, to recognise the folder of an interrupted demo
RESULTS_KEYS = {"accuracy", "differences", "device"}  # of results.json


@dataclass(frozen=True)
class DemoFolder:
    """Paths in the folder `root`."""

    root: Path

    @property
    def clips(self) -> Path:
        """The drawn clips and the long video."""
        return self.root / "clips"

    @property
    def motion_clips(self) -> Path:
        """The drawn clips, a folder for each class."""
        return self.clips / FAMILY

    @property
    def video(self) -> Path:
        """The long generated video, with its true segments beside it as JSON."""
        return self.root / "clips" / "long.mp4"

    @property
    def run(self) -> Path:
        """The exported run: a copy of a shipped one."""
        return self.root / "run"

    @property
    def runs(self) -> Path:
        """The runs that were trained here."""
        return self.root / "runs"

    def brief_run(self, part: str) -> Path:
        """The run of a brief training."""
        return self.runs / part

    @property
    def bundle(self) -> Path:
        """The exported bundle."""
        return self.root / "bundle"

    @property
    def gallery(self) -> Path:
        """The gallery of enrolled classes."""
        return self.root / "gallery.db"

    @property
    def watched(self) -> Path:
        """The long video with the answers drawn on."""
        return self.root / "watched.mp4"

    @property
    def animation(self) -> Path:
        """The same as an animated picture."""
        return self.root / "watched.webp"

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
            for path in (
                self.report,
                self.results,
                self.watched,
                self.animation,
                self.gallery,
                *self._gallery_side_files(),
            ):
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
        return isinstance(results, dict) and set(results) == RESULTS_KEYS
