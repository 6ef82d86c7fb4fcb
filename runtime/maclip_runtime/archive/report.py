"""Results as one web page that needs nothing else: styles and pictures are in it."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path, PurePath

from maclip_runtime.archive.archive import Found, Search
from maclip_runtime.errors import MaclipError

STYLE = (
    ":root{--ink:#16181d;--dull:#667080;--line:#dfe3ea;--card:#fff;--page:#f4f6f9;--mark:#2563c9;--soft:#e6eefb}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8eaee;--dull:#98a2b3;--line:#2c323d;--card:#1b1f27;--page:#12151a;"
    "--mark:#7aa7ff;--soft:#22304a}}"
    "*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);"
    "font:16px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif}main{max-width:1080px;margin:0 auto;padding:40px 20px}"
    "h1{font-size:30px;line-height:1.2;margin:0 0 6px}h2{font-size:17px;margin:36px 0 12px}"
    ".dull{color:var(--dull)}.facts{display:flex;flex-wrap:wrap;gap:12px;margin:24px 0}"
    ".fact{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:12px 18px;flex:1;"
    "min-width:150px}"
    ".fact b{display:block;font-size:24px;line-height:1.25}.fact span{color:var(--dull);font-size:14px}"
    ".card{background:var(--card);border:1px solid var(--line);border-radius:12px;margin:0 0 14px;overflow:hidden}"
    ".card img,.query img{display:block;width:100%;height:auto}"
    ".words{display:flex;gap:16px;align-items:center;padding:12px 18px;flex-wrap:wrap}"
    ".rank{font-size:22px;font-weight:700;color:var(--mark);min-width:34px}"
    ".where{flex:1;min-width:220px;overflow-wrap:anywhere}.where a{color:inherit;font-weight:600}"
    ".where small{display:block;color:var(--dull)}"
    ".bar{width:100%;margin:3px 0;height:8px;border-radius:4px;background:var(--soft);overflow:hidden}"
    ".bar i{display:block;height:100%;background:var(--mark)}.match{width:210px;font-size:14px;color:var(--dull)}"
    ".gone{padding:22px 18px;color:var(--dull);background:var(--soft)}"
    ".query{display:grid;gap:10px;grid-template-columns:repeat(auto-fill,minmax(420px,1fr))}"
    ".query figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:12px;overflow:hidden}"
    ".query figcaption{padding:6px 14px;font-size:14px;color:var(--dull);overflow-wrap:anywhere}"
    ".line{display:grid;grid-template-columns:190px 1fr 70px;gap:12px;align-items:center;font-size:14px;margin:6px 0}"
    ".line .name{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}.track{position:relative;height:14px;"
    "border-radius:7px;background:var(--soft)}.track i{position:absolute;top:0;height:100%;min-width:4px;"
    "border-radius:3px;background:var(--mark)}@media(max-width:600px){.line{grid-template-columns:90px 1fr 50px}"
    ".query{grid-template-columns:1fr}}"
)
MAX_LINES = 40  # videos in the overview


def write_report(
    file: Path,
    search: Search,
    strips: Mapping[int, bytes],
    *,
    title: str,
    examples: Sequence[tuple[str, bytes]] = (),
) -> None:
    """Write the page.

    Args:
        file: where to; it is whole or as it was.
        search: the results.
        strips: a JPEG for each rank, where the video is still there.
        title: what was searched for.
        examples: captions and JPEGs of the clips that it was searched by.

    Raises `output-unwritable`.
    """
    page = _page(search, strips, title, examples)
    part = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        try:
            part.write_text(page, encoding="utf-8", errors="replace")
            os.replace(part, file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise MaclipError(
            "output-unwritable", f"The report {file} cannot be written ({error.strerror}).", "Give another --report."
        ) from error


def clock(seconds: float) -> str:
    """Seconds as people read them.

    >>> clock(75.5), clock(7384)
    ('1:15.5', '2:03:04.0')
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def _page(search: Search, strips: Mapping[int, bytes], title: str, examples: Sequence[tuple[str, bytes]]) -> str:
    name = escape(title)
    videos = len({one.path for one in search.found})
    facts = [
        (str(len(search.found)), f"results in {videos} {'video' if videos == 1 else 'videos'}"),
        (_hours(search.hours), f"of video, {search.windows:,} windows"),
        (f"{sum(search.seconds.values()):.1f} s", f"to search, {search.measured:,} windows compared exactly"),
    ]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title>",
        f'<meta name=viewport content="width=device-width"><style>{STYLE}</style><main>',
        f"<h1>{name}</h1><div class=dull>Where it happens, the nearest first.</div><div class=facts>",
        *(f"<div class=fact><b>{value}</b><span>{escape(what)}</span></div>" for value, what in facts),
        "</div>",
    ]
    if examples:
        parts.append("<h2>Searched by</h2><div class=query>")
        parts += [
            f'<figure><img src="{_data(data)}" alt=""><figcaption>{escape(caption)}</figcaption></figure>'
            for caption, data in examples
        ]
        parts.append("</div>")
    if search.found:
        parts += ["<h2>Where in the videos</h2>", *_lines(search.found), "<h2>Results</h2>"]
    parts += [_card(one, strips.get(one.rank), search) for one in search.found]
    parts.append("</main></html>\n")
    return "".join(parts)


def _card(one: Found, strip: bytes | None, search: Search) -> str:
    if strip is not None:
        picture = f'<a href="{escape(one.link)}"><img src="{_data(strip)}" alt="frames of result {one.rank}"></a>'
    else:
        why = {"missing": "The video is no longer there.", "changed": "The video has changed since it was indexed."}
        picture = f"<div class=gone>{why.get(one.video, 'The video cannot be read.')}</div>"
    limit = "" if search.limit is None else f", limit {search.limit:.2f}"
    return (
        f"<div class=card>{picture}<div class=words><div class=rank>{one.rank}</div>"
        f'<div class=where><a href="{escape(one.link)}">{clock(one.start_s)} to {clock(one.end_s)}</a>'
        f"<small>{escape(one.source)}</small></div>"
        f"<div class=match>match {one.match:.2f}<div class=bar><i style='width:{one.match:.0%}'></i></div>"
        f"<span title='of a typical window: {search.typical:.2f}'>distance {one.distance:.2f}{limit}</span></div>"
        "</div></div>"
    )


def _lines(found: Sequence[Found]) -> list[str]:
    """For each video a line with its results where they lie, the video with the nearest result first."""
    lines = []
    for path in list(dict.fromkeys(one.path for one in found))[:MAX_LINES]:
        here = [one for one in found if one.path == path]
        length_s = max([one.end_s for one in here] + [one.length_s or 0.0 for one in here])
        marks = "".join(
            f"<i title='{one.rank}: {clock(one.start_s)}' style='left:{one.start_s / length_s:.3%};"
            f"width:{(one.end_s - one.start_s) / length_s:.3%}'></i>"
            for one in here
        )
        name = escape(PurePath(here[0].source).name)
        lines.append(
            f'<div class=line><div class=name title="{escape(here[0].source)}">{name}</div>'
            f"<div class=track>{marks}</div><div class=dull>{clock(length_s)}</div></div>"
        )
    return lines


def _hours(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"


def _data(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
