"""What a built website must not have: links that lead nowhere, and anything that is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"script": "src", "img": "src", "source": "src", "video": "src", "iframe": "src", "link": "href", "use": "href"}
NOT_LOADED = {"canonical", "alternate", "next", "prev", "license"}  # kinds of <link> that only name a page


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[key] for key in ("id", "name") if key in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in LOADS and LOADS[tag] in found and found.get("rel") not in NOT_LOADED:
            self.loaded.append(found[LOADS[tag]])


def problems_of(site: Path) -> list[str]:
    """A sentence for each problem of the website in the folder `site`."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    return [
        f"{path.relative_to(site)}: {what}"
        for path, page in pages.items()
        if path.name != "404.html"
        for what in _problems(site, path, page, pages)
    ]


def _problems(site: Path, path: Path, page: _Page, pages: dict[Path, _Page]) -> Iterator[str]:
    for target in page.loaded:
        if urlsplit(target).netloc:
            yield f"{target} is loaded from elsewhere"
    for target in (*page.links, *page.loaded):
        address = urlsplit(target)
        if address.scheme or address.netloc:
            continue
        name = unquote(address.path)
        file = path if not name else (site / name.lstrip("/") if name.startswith("/") else path.parent / name).resolve()
        file = file / "index.html" if file.is_dir() else file
        if not file.is_file():
            yield f"{target} is not there"
        elif address.fragment and file in pages and unquote(address.fragment) not in pages[file].anchors:
            yield f"{target} has no such place"
