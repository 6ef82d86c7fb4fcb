"""Write SVG: elements as strings, colours as CSS variables for light and dark mode."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def element(tag: str, content: str = "", **attributes: object) -> str:
    """One element.

    content: SVG, not escaped.
    attributes: escaped; `class_` becomes class, other underscores become hyphens, floats are rounded to 2 digits.
    """
    written = "".join(f' {_name(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None)
    return f"<{tag}{written}>{content}</{tag}>" if content else f"<{tag}{written}/>"


def text(x: float, y: float, words: str, class_: str = "", anchor: str = "start") -> str:
    """Text at a position; `anchor` is start, middle or end."""
    return element("text", escape(words), x=x, y=y, class_=class_ or None, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def rect(x: float, y: float, width: float, height: float, fill: str, title: str = "", **attributes: object) -> str:
    """A rectangle with `title` as a tooltip; negative sizes become 0."""
    tooltip = element("title", escape(title)) if title else ""
    return element("rect", tooltip, x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), fill=fill, **attributes)


def picture(width: float, height: float, parts: Iterable[str], label: str, class_: str = "") -> str:
    """An SVG image of `width` x `height` units; `label` describes it for screen readers."""
    return element(
        "svg",
        "".join(parts) or "<g/>",
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=label,
        class_=class_ or None,
    )


def _name(key: str) -> str:
    return key if key == "viewBox" else key.rstrip("_").replace("_", "-")


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else escape(str(value))
