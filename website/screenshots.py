"""Take the pictures of the teaching page again: the browser tests make them, this makes them small.

python -m website.screenshots
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
TESTS = ROOT / "tests" / "runtime" / "serve" / "test_serve_page.py"
# The picture by the test that leaves it.
PICTURES = {
    "teach": "test_an_action_is_taught_from_the_browsers_camera",
    "review": "test_windows_are_reviewed_by_keyboard_alone",
    "why": "test_watch_shows_pictures_answers_and_a_source_that_died",
    "phone": "test_a_phone_in_the_dark_shows_every_view_in_chinese",
}
QUALITY = 80  # of WebP


def shrink(folder: Path) -> None:
    """Write the pictures of `folder` into docs/images."""
    for name, test in PICTURES.items():
        with Image.open(folder / f"{test}.png") as picture:
            picture.convert("RGB").save(IMAGES / f"screenshot-{name}.webp", quality=QUALITY, method=6)


def main() -> None:
    """Run the browser tests, and keep their pictures."""
    with tempfile.TemporaryDirectory(prefix="maclip-screenshots-") as folder:
        subprocess.run(
            [sys.executable, "-m", "pytest", str(TESTS)],
            cwd=ROOT,
            env={**os.environ, "MACLIP_SCREENSHOTS": folder},
            check=True,
        )
        shrink(Path(folder))


if __name__ == "__main__":
    main()
