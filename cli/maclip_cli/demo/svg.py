"""Small SVG writing: elements as strings, colours as CSS variables, so that a picture follows light and dark."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def element(tag: str, content: str = "", **attributes: object) -> str:
    """One element; `class_` is class, other underscores are hyphens, numbers are rounded to what can be seen.

    `content` is SVG already; attribute values are escaped.
    """
    written = "".join(f' {_name(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None)
    return f"<{tag}{written}>{content}</{tag}>" if content else f"<{tag}{written}/>"


def text(x: float, y: float, words: str, class_: str = "", anchor: str = "start") -> str:
    """Words at a place; `anchor` is start, middle or end."""
    return element("text", escape(words), x=x, y=y, class_=class_ or None, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def rect(x: float, y: float, width: float, height: float, fill: str, title: str = "", **attributes: object) -> str:
    """A rectangle that says `title` when pointed at; never of negative size."""
    said = element("title", escape(title)) if title else ""
    return element("rect", said, x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), fill=fill, **attributes)


def picture(width: float, height: float, parts: Iterable[str], label: str, class_: str = "") -> str:
    """A whole picture of `width` x `height` units, which `label` describes to those who cannot see it."""
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
