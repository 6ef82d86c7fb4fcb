"""Build the website: copy docs/, add the pages that are made from the code, run zensical strictly, check every link.

    python -m website.build site

Nothing that is made here is committed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from website.check import problems_of
from website.errors import errors_page
from website.figures import figures_page
from website.options import options_page
from website.python_api import python_pages
from website.rest import rest_page

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
CONFIG = Path(__file__).with_name("zensical.toml")
STYLE = Path(__file__).with_name("site.css")
RESULTS = Path("benchmarks/results")

# Pages by who reads them. A page that is not there is left out; one that is not named comes last.
SECTIONS: dict[str, list[str]] = {
    "Start": ["index.md", "first-hour.md", "how-it-works.md"],
    "Teach and recognise": [
        "device.md",
        "cameras.md",
        "serve.md",
        "events.md",
        "gallery.md",
        "archive.md",
        "falls.md",
        "robots.md",
        "devices.md",
        "robots.md",
        "remote.md",
        "fleet-galleries.md",
        "scale.md",
    ],
    "Train and export": ["training.md", "export.md", "method.md", "ablation.md"],
    "Measured": ["figures.md", "performance.md"],
    "Reference": [
        "settings.md",
        "options-maclip-run.md",
        "options-maclip.md",
        "errors.md",
        "rest.md",
        "python-maclip_runtime.md",
        "python-maclip.md",
        "python-maclip_export.md",
        "bundle-format.md",
        "gallery-format.md",
    ],
    "Extend": ["extending.md", "contributing.md", "security.md", "changelog.md"],
}
FROM_ROOT = {"CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md"}
PLACES = {"README.md": "index.md", "benchmarks/results": "figures.md"}
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LINK = re.compile(r"(?<=\]\()((?:\.\./)?[^)\s#]+)((?:#[^)\s]*)?)(?=\))")
DRAWING = re.compile(r"!\[([^\]]*)\]\((images/[\w-]+\.svg)\)")


def build(out: Path) -> None:
    """Build the website into the new or empty folder `out`. Raises `SystemExit` with what is wrong."""
    with tempfile.TemporaryDirectory(prefix="maclip-website-") as folder:
        place = Path(folder)
        pages = place / "pages"
        stage(pages)
        nav = json.dumps(navigation(pages)).replace('": ', '" = ')
        (place / "zensical.toml").write_text(CONFIG.read_text("utf-8").replace("#nav#", f"nav = {nav}"), "utf-8")
        run = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
        done = subprocess.run(run, cwd=place, capture_output=True, text=True, check=False)
        if done.returncode:
            said = COLOUR.sub("", f"{done.stdout}\n{done.stderr}")
            sys.exit(said.partition("Traceback")[0].strip())
        if found := problems_of(place / "site"):
            sys.exit("\n".join(found))
        shutil.copytree(place / "site", out, dirs_exist_ok=True)


def stage(pages: Path) -> None:
    """Write all pages of the website into the folder `pages`."""
    shutil.copytree(DOCS, pages)
    for name, page in FROM_ROOT.items():
        if (ROOT / name).is_file():
            text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
            (pages / page).write_text(text, encoding="utf-8")
    shutil.copy(STYLE, pages / "site.css")
    made = {
        "errors.md": errors_page(),
        "figures.md": figures_page(ROOT / RESULTS),
        "options-maclip-run.md": options_page("maclip-run"),
        "options-maclip.md": options_page("maclip"),
        "rest.md": rest_page(),
        **python_pages(),
    }
    for name, text in made.items():
        (pages / name).write_text(text, encoding="utf-8")
    of_root = set(FROM_ROOT.values())
    for file in sorted(pages.glob("*.md")):
        _adapt(file, pages, ROOT if file.name in of_root else DOCS)


def _adapt(file: Path, pages: Path, base: Path) -> None:
    """Make a copied page one of the website: drawings inside it, so that they follow its colours, and links that lead.

    base: the folder of the repository from which its links lead.
    """

    def linked(found: re.Match[str]) -> str:
        target = _place(found[1], pages, base)
        return found[0] if target is None else os.path.relpath(pages / target, file.parent) + found[2]

    def drawn(found: re.Match[str]) -> str:
        svg = (pages / found[2]).read_text(encoding="utf-8")
        return f'<figure markdown="0">{svg[svg.index("<svg") :]}</figure>'

    text = LINK.sub(linked, DRAWING.sub(drawn, file.read_text(encoding="utf-8")))
    file.write_text(text.replace("<details>", '<details markdown="1">'), encoding="utf-8")


def _place(target: str, pages: Path, base: Path) -> str | None:
    """Where the website has what a link leads to, which is copied if need be; None: it stays as it is."""
    source = (base / target).resolve()
    if ":" in target or not source.exists() or not source.is_relative_to(ROOT):
        return None
    name = source.relative_to(ROOT).as_posix()
    if name in FROM_ROOT:
        return FROM_ROOT[name]
    if source.is_dir() or name == "README.md":
        return PLACES.get(name)
    if source.is_relative_to(DOCS):
        return source.relative_to(DOCS).as_posix()
    copy = pages / "files" / name
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy)
        if source.suffix == ".md":
            _adapt(copy, pages, source.parent)
    return f"files/{name}"


def navigation(pages: Path) -> list[dict[str, object]]:
    """The pages that are there, by section; zensical takes the titles from the pages."""
    there = {page.name for page in pages.glob("*.md")}
    sections = {title: [name for name in names if name in there] for title, names in SECTIONS.items()}
    named = {name for names in sections.values() for name in names}
    sections["More"] = sorted(there - named)
    return [{title: [{title_of(pages / name): name} for name in names]} for title, names in sections.items() if names]


def title_of(page: Path) -> str:
    """What the navigation calls a page: its first heading up to a colon."""
    heading = next(line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("# "))
    return heading[2:].replace("`", "").split(":")[0]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder of the website")
    build(parser.parse_args().out)


if __name__ == "__main__":
    main()
