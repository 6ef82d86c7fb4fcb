"""Charts of the report: accuracy bars with intervals, learning curves, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from maclip.evaluation.evaluator import Result
from maclip_cli.demo.plan import FROZEN, PARTS
from maclip_cli.demo.rows import RowOutcome
from maclip_cli.demo.svg import element, line, picture, rect, text
from maclip_cli.demo.words import PART_TITLES, row_title

PANEL = 340.0  # width in units, about that of a phone, so that text keeps its size there
Scale = Callable[[float], float]  # from a value to units of the chart
COLOURS = {part: f"var(--{part})" for part in (FROZEN, *PARTS)}


def accuracy_panel(results: Mapping[str, Result], chance: float, label: str) -> str:
    """A bar for each part with its 95 % interval, and a dashed line at `chance`, as SVG.

    results: by part.
    chance: accuracy of guessing, 0..1.
    label: description for screen readers.
    """
    bar, pitch, top = 14.0, 44.0, 4.0
    bottom = top + pitch * max(len(results), 1)

    def x(share: float) -> float:
        return share * (PANEL - 2) + 1

    parts = [line(x(tick), top, x(tick), bottom, "grid") for tick in (0.0, 0.25, 0.5, 0.75, 1.0)]
    parts.append(line(x(chance), top, x(chance), bottom, "chance"))
    for at, (part, result) in enumerate(results.items()):
        y = top + pitch * at
        figures = f"{result.accuracy:.1%} ± {result.interval * 100:.1f}"
        parts.append(text(1, y + 13, PART_TITLES.get(part, part), "label"))
        parts.append(text(PANEL - 1, y + 13, figures, "value", "end"))
        parts.append(rect(x(0), y + 19, x(result.accuracy) - x(0), bar, COLOURS.get(part, "var(--line)"), rx=2))
        low, high = (min(max(result.accuracy + sign * result.interval, 0.0), 1.0) for sign in (-1, 1))
        middle = y + 19 + bar / 2
        parts.append(line(x(low), middle, x(high), middle, "whisker"))
        parts += [line(x(end), middle - 4, x(end), middle + 4, "whisker") for end in (low, high)]
    parts.append(text(x(chance), bottom + 14, f"chance {chance:.0%}", "tick", "middle"))
    parts += [text(x(t), bottom + 14, f"{t:.0%}", "tick", a) for t, a in ((0.5, "middle"), (1.0, "end"))]
    values = "; ".join(f"{PART_TITLES.get(part, part)} {result.accuracy:.1%}" for part, result in results.items())
    return picture(PANEL, bottom + 20, parts, f"{label}: {values}")


def curve_panel(rows: Mapping[str, RowOutcome], begins: Mapping[str, str], chance: float) -> str:
    """Validation accuracy over training episodes, a curve for each row that was trained here, as SVG.

    begins: the row whose training a row continues, where there is one; the others begin with frozen CLIP.
    chance: accuracy of guessing, 0..1.
    """
    height, left, right, top, bottom = 224.0, 40.0, PANEL - 8, 10.0, 190.0
    trained = [row for row in rows.values() if row.curve]
    starts = {row.name: _start(rows, begins.get(row.name)) for row in trained}
    last = max((starts[row.name][0] + point.episode for row in trained for point in row.curve), default=1)
    frozen = rows[FROZEN].validation if FROZEN in rows else chance

    def x(episode: float) -> float:
        return left + (right - left) * episode / last

    def y(share: float) -> float:
        return bottom - (bottom - top) * share

    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(line(left, y(tick), right, y(tick), "grid"))
        parts.append(text(left - 6, y(tick) + 4, f"{tick:.0%}", "tick", "end"))
    parts.append(line(left, y(chance), right, y(chance), "chance"))
    parts.append(line(left, y(frozen), right, y(frozen), "frozen-level"))
    for share in (0.0, 0.5, 1.0):
        anchor = {0.0: "start", 1.0: "end"}.get(share, "middle")
        parts.append(text(x(last * share), bottom + 16, f"{last * share:,.0f}", "tick", anchor))
    parts.append(text((left + right) / 2, bottom + 29, "training episodes", "tick", "middle"))
    for row in trained:
        parts += _curve(row, *starts[row.name], x, y)
    ends = "; ".join(f"{row_title(row.name)} ends at {row.curve[-1].accuracy:.1%}" for row in trained)
    return picture(PANEL, height, parts, f"Validation accuracy over episodes. {ends}")


def confusion_picture(result: Result) -> str:
    """The confusion matrix as SVG: true classes in rows, answers in columns, shares of a row; classes by number."""
    count = max(len(result.names), 1)
    edge = 22.0
    cell = (PANEL - edge) / max(count, 4)
    parts = []
    for at in range(len(result.names)):
        middle = edge + cell * (at + 0.5)
        parts.append(text(middle, edge - 8, str(at + 1), "tick", "middle"))
        parts.append(text(edge - 6, middle + 4, str(at + 1), "tick", "end"))
    for i, row in enumerate(result.confusion):
        total = sum(row) or 1
        for j, answers in enumerate(row):
            share = answers / total
            place = (edge + cell * j, edge + cell * i)
            tooltip = f"{result.names[i]}: {share:.1%} classified as {result.names[j]}"
            fill = "var(--full)" if i == j else "var(--wrong)"
            parts.append(rect(*place, cell - 1.5, cell - 1.5, "var(--empty)", rx=2))
            parts.append(rect(*place, cell - 1.5, cell - 1.5, fill, tooltip, rx=2, fill_opacity=_ink(share)))
            if share >= 0.02:
                class_ = "cell strong" if _ink(share) > 0.55 else "cell"
                parts.append(
                    text(place[0] + cell / 2 - 0.75, place[1] + cell / 2 + 3, f"{share * 100:.0f}", class_, "middle")
                )
    side = edge + cell * count
    return picture(PANEL, side, parts, "Confusion matrix: true classes in rows, answers in columns")


def worst_confusions(result: Result, count: int = 3) -> list[tuple[str, str, float]]:
    """The `count` most frequent confusions: true class, answer, share of the queries of the true class."""
    found = [
        (result.names[i], result.names[j], answers / (sum(row) or 1))
        for i, row in enumerate(result.confusion)
        for j, answers in enumerate(row)
        if i != j and answers
    ]
    return sorted(found, key=lambda one: -one[2])[:count]


def _ink(share: float) -> float:
    """Opacity of a cell: the square root of the share, so that rare confusions are visible."""
    return round(float(share**0.5), 3)


def _start(rows: Mapping[str, RowOutcome], begins: str | None) -> tuple[int, float]:
    """Episode and accuracy at which a training begins that continues the row `begins`, or frozen CLIP."""
    if begins is not None and begins in rows and rows[begins].curve:
        last = rows[begins].curve[-1]
        return last.episode, last.accuracy
    return 0, rows[FROZEN].validation if FROZEN in rows else 0.0


def _curve(row: RowOutcome, start: int, begins_at: float, x: Scale, y: Scale) -> list[str]:
    """The curve of one row with its interval, from the episode `start`; hollow points where adapters are trained."""
    colour = COLOURS[row.name.partition("-")[2]]
    upper = [(x(start + p.episode), y(min(p.accuracy + p.interval, 1.0))) for p in row.curve]
    lower = [(x(start + p.episode), y(max(p.accuracy - p.interval, 0.0))) for p in row.curve]
    middle = [(x(start), y(begins_at)), *((x(start + p.episode), y(p.accuracy)) for p in row.curve)]
    parts = [
        element("polygon", points=_points([*upper, *reversed(lower)]), fill=colour, fill_opacity=0.15),
        element(
            "polyline", points=_points(middle), fill="none", stroke=colour, stroke_width=2, stroke_linejoin="round"
        ),
    ]
    for p in row.curve:
        figures = f"{p.accuracy:.1%} ± {p.interval:.1%}"
        tooltip = f"<title>{row_title(row.name)}, episode {start + p.episode}: {figures}</title>"
        hollow = p.stage == "joint"
        parts.append(
            element(
                "circle",
                tooltip,
                cx=x(start + p.episode),
                cy=y(p.accuracy),
                r=3.2,
                fill="var(--paper)" if hollow else colour,
                stroke=colour,
                stroke_width=1.6,
            )
        )
    return parts


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
