"""The drawings of docs/images: an episode, the adapted block, TPCM, the alignment, the limit.

    python -m website.drawings

They are SVG with colours of their own for dark and light, so they can also be seen in a repository's browser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
STYLE = """<style>
svg.drawing{--ink:#1d2430;--soft:#5b6675;--line:#9aa5b4;--paper:#f4f6f9;--frozen:#d6dde7;--tuned:#2f6fb4;
--tuned-soft:#d5e5f6;--warm:#c8641b;--warm-soft:#fbe4d2;--good:#2b7d4f}
@media (prefers-color-scheme:dark){svg.drawing{--ink:#e7ebf2;--soft:#a5b0c0;--line:#66748a;--paper:#1c2230;
--frozen:#38435a;--tuned:#6aa8ec;--tuned-soft:#1f3956;--warm:#f09a58;--warm-soft:#4b311e;--good:#66c18f}}
svg.drawing text{fill:var(--ink);font:14px system-ui,sans-serif}
svg.drawing .small{font-size:12px;fill:var(--soft)}
svg.drawing .bold{font-weight:600}
svg.drawing .frozen{fill:var(--frozen);stroke:var(--line)}
svg.drawing .tuned{fill:var(--tuned-soft);stroke:var(--tuned);stroke-width:1.5}
svg.drawing .warm{fill:var(--warm-soft);stroke:var(--warm);stroke-width:1.5}
svg.drawing .paper{fill:var(--paper);stroke:var(--line)}
svg.drawing .arrow{stroke:var(--soft);stroke-width:1.5;fill:none}
svg.drawing .tip{fill:var(--soft)}
svg.drawing .path{stroke:var(--warm);stroke-width:3;fill:none;stroke-linejoin:round}
svg.drawing .dot{fill:var(--tuned)}
svg.drawing .other{fill:var(--warm)}
svg.drawing .limit{stroke:var(--tuned);stroke-width:1.5;stroke-dasharray:5 4;fill:var(--tuned-soft);fill-opacity:.5}
</style>"""


class Drawing:
    """Shapes on a sheet of `width` x `height`."""

    def __init__(self, width: int, height: int, said: str) -> None:
        self._size, self._said, self._shapes = (width, height), said, list[str]()

    def box(self, x: float, y: float, w: float, h: float, kind: str, text: str = "", small: str = "") -> None:
        """A box with a text in it, and a smaller one below that."""
        self._shapes.append(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="5"/>')
        middle = y + h / 2 + 5 - (8 if small else 0)
        if text:
            self.text(x + w / 2, middle, text, anchor="middle")
        if small:
            self.text(x + w / 2, middle + 17, small, "small", anchor="middle")

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        """A line of text."""
        named = f' class="{kind}"' if kind else ""
        self._shapes.append(f'<text{named} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>')

    def arrow(self, *points: tuple[float, float]) -> None:
        """An arrow along points; its last piece is straight across or down."""
        (x0, y0), (x1, y1) = points[-2:]
        dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
        way = " L".join(f"{x:g} {y:g}" for x, y in (*points[:-1], (x1 - 6 * dx, y1 - 6 * dy)))
        back, side = (x1 - 8 * dx, y1 - 8 * dy), (4 * dy, 4 * dx)
        wings = ((back[0] + side[0], back[1] + side[1]), (back[0] - side[0], back[1] - side[1]))
        tip = " ".join(f"{x:g},{y:g}" for x, y in ((x1, y1), *wings))
        self._shapes.append(f'<path class="arrow" d="M{way}"/><polygon class="tip" points="{tip}"/>')

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """A line through points."""
        self._shapes.append(f'<path class="{kind}" d="M{" L".join(f"{x:g} {y:g}" for x, y in points)}"/>')

    def circle(self, x: float, y: float, r: float, kind: str) -> None:
        """A circle."""
        self._shapes.append(f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="{r:g}"/>')

    def svg(self) -> str:
        """The whole file."""
        w, h = self._size
        head = f'<svg xmlns="http://www.w3.org/2000/svg" class="drawing" viewBox="0 0 {w} {h}" role="img"'
        return f'{head} aria-label="{escape(self._said)}">\n{STYLE}\n' + "\n".join(self._shapes) + "\n</svg>\n"


def episode() -> Drawing:
    """Support clips of five classes, a query, and the question."""
    d = Drawing(
        760, 250, "An episode: one named support clip for each of five classes, and a query clip without a name."
    )
    d.text(20, 24, "support: the clips you enrolled, with their names", "bold")
    for place, name in enumerate(("waving", "sitting down", "opening a door", "jumping", "pouring")):
        x = 20 + place * 147
        _clip(d, x, 40, 128, "tuned" if place == 2 else "paper", MOTIONS[place])
        d.text(x + 64, 102, name, anchor="middle")
    d.text(20, 158, "query: a new clip", "bold")
    _clip(d, 20, 174, 128, "warm", MOTIONS[2])
    d.arrow((160, 196), (320, 196))
    d.text(240, 186, "which one fits?", "small", anchor="middle")
    d.box(330, 174, 190, 44, "tuned", "opening a door")
    d.text(536, 201, 'or "unknown", if none is near', "small")
    return d


# Heights of what moves in the four frames of a clip.
MOTIONS = ((20, 8, 20, 8), (8, 14, 24, 34), (34, 26, 18, 10), (34, 12, 12, 34), (22, 22, 30, 34))


def _clip(d: Drawing, x: float, y: float, w: float, kind: str, heights: Sequence[float]) -> None:
    """Four frames of a clip, in which something moves."""
    each = w / 4
    for frame, height in enumerate(heights):
        d.box(x + frame * each, y, each - 3, 44, kind)
        d.circle(x + frame * each + each / 2 - 1.5, y + height, 5, "dot")


def block() -> Drawing:
    """A block of CLIP with its three adapters."""
    d = Drawing(760, 360, "A block of CLIP: frozen attention and MLP, with three small trained adapters between them.")
    d.text(20, 24, "one block of CLIP's image tower", "bold")
    d.box(480, 10, 16, 16, "frozen")
    d.text(502, 23, "frozen CLIP", "small")
    d.box(600, 10, 16, 16, "tuned")
    d.text(622, 23, "trained adapter", "small")
    d.box(40, 60, 300, 46, "frozen", "attention over the T frames", "the block's own weights, used a second time")
    d.box(40, 120, 300, 40, "tuned", "temporal adapter")
    d.box(40, 190, 300, 46, "frozen", "attention over the patches", "and one more token: the text of the clip")
    d.box(40, 250, 300, 40, "tuned", "multimodal adapter")
    d.box(420, 190, 130, 46, "frozen", "MLP")
    d.box(420, 250, 130, 40, "tuned", "joint adapter")
    d.box(420, 60, 230, 46, "tuned", "text of the name, mapped", "FC_text, for support clips")
    d.arrow((190, 44), (190, 60))
    d.arrow((190, 106), (190, 120))
    d.arrow((190, 160), (190, 190))
    d.arrow((190, 236), (190, 250))
    d.arrow((420, 83), (380, 83), (380, 213), (340, 213))
    d.arrow((190, 290), (190, 320), (620, 320), (620, 213), (550, 213))
    d.arrow((190, 320), (190, 320), (580, 320), (580, 270), (550, 270))
    d.text(
        60,
        345,
        "out: the tokens of each frame; they now know the other frames and, in support clips, the name",
        "small",
    )
    return d


def tpcm() -> Drawing:
    """From frame features to prototypes."""
    d = Drawing(
        760, 230, "TPCM: attention over the frames of a clip turns its frame features into the class's prototype."
    )
    d.text(20, 24, "TPCM: from frames to a prototype", "bold")
    for frame in range(8):
        d.box(20 + frame * 26, 60, 20, 60, "paper")
    d.text(124, 142, "a feature for each of T frames", "small", anchor="middle")
    d.text(124, 160, "(and of the text, if there is one)", "small", anchor="middle")
    d.arrow((236, 90), (280, 90))
    d.box(280, 56, 190, 68, "tuned", "attention over the frames", "and a small MLP, both trained")
    d.arrow((470, 90), (514, 90))
    for frame in range(8):
        d.box(522 + frame * 26, 60, 20, 60, "tuned")
    d.text(626, 142, "the same number of frames: each", "small", anchor="middle")
    d.text(626, 160, "now knows what came before and after", "small", anchor="middle")
    d.text(20, 206, "Several clips of one class: the prototypes of the clips are averaged.", "small")
    return d


def alignment() -> Drawing:
    """The path through the distances of two clips' frames."""
    d = Drawing(
        760, 330, "Alignment: the cheapest path through the table of frame distances, which keeps the order of time."
    )
    d.text(20, 24, "matching: the cheapest path that keeps the order of time", "bold")
    side, left, top = 32, 116, 50
    path = {0: (0,), 1: (0,), 2: (1,), 3: (2, 3), 4: (4,), 5: (5,), 6: (6,), 7: (7,)}
    for row in range(8):
        for column in range(8):
            near = column in path[row]
            d.box(left + column * side, top + row * side, side - 3, side - 3, "warm" if near else "frozen")
    way = [(left + column * side + 14.5, top + row * side + 14.5) for row in range(8) for column in path[row]]
    d.line(way, "path")
    d.text(left + 4 * side, 322, "frames of the prototype, in order", "small", anchor="middle")
    d.text(left - 14, 170, "frames of the", "small", anchor="end")
    d.text(left - 14, 188, "query, in order", "small", anchor="end")
    d.text(400, 90, "Each cell is the distance of two frames.", "")
    d.text(400, 126, "The path may wait at an end or skip frames:")
    d.text(400, 146, "people are fast or slow. It may not go back:")
    d.text(400, 166, "sitting down is not standing up.")
    d.text(400, 202, "The sum along the path is the distance", "bold")
    d.text(400, 222, "of the query from the class.", "bold")
    return d


def limit() -> Drawing:
    """Known, unknown and the limit of each class."""
    d = Drawing(
        760,
        300,
        "Limits: around each class a distance within which an answer counts; beyond all of them it is unknown.",
    )
    d.text(20, 24, "limits: near enough, or unknown", "bold")
    for x, y, r, name, clips in (
        (190, 165, 92, "waving", ((-30, -20), (20, 10), (-10, 35))),
        (430, 150, 64, "pouring", ((-12, -14), (16, 12))),
    ):
        d.circle(x, y, r, "limit")
        for dx, dy in clips:
            d.circle(x + dx, y + dy, 6, "dot")
        d.text(x, y - r - 8, name, anchor="middle")
    d.circle(232, 195, 7, "other")
    d.text(246, 200, "a query: waving", "small")
    d.circle(580, 205, 7, "other")
    d.text(594, 210, "a query: unknown", "small")
    d.text(
        20,
        286,
        "dots: enrolled clips. dashed: the class's limit, measured on its clips and on your own background video",
        "small",
    )
    return d


DRAWINGS: dict[str, Callable[[], Drawing]] = {
    "episode": episode,
    "block": block,
    "tpcm": tpcm,
    "alignment": alignment,
    "limit": limit,
}


def main() -> None:
    """Write all of them."""
    IMAGES.mkdir(exist_ok=True)
    for name, draw in DRAWINGS.items():
        (IMAGES / f"{name}.svg").write_text(draw().svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
