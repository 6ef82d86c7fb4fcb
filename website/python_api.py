"""Pages of the Python packages: what each exports, with signatures and docstrings."""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

PACKAGES = {
    "maclip_runtime": "Python on a device",
    "maclip": "Python on a workstation",
    "maclip_export": "Python for exporting",
}
PARAMETER = re.compile(r"^(\*{0,2}\w+(?:, \w+)*): (.*)$")


def python_pages() -> dict[str, str]:
    """Each package's page, by file name."""
    return {f"python-{name}.md": _page(name, title) for name, title in PACKAGES.items()}


def _page(name: str, title: str) -> str:
    package = importlib.import_module(name)
    parts = [f"# {title}: `{name}`", _docstring(package)]
    for exported in sorted(package.__all__, key=str.lower):
        value = getattr(package, exported)
        if not exported.startswith("__"):
            parts += _entry(f"{name}.{exported}", value)
    return "\n\n".join(part for part in parts if part) + "\n"


def _entry(path: str, value: Any) -> Iterator[str]:
    name = path.rsplit(".", 1)[1]
    yield f"## {name}"
    if inspect.ismodule(value):
        yield _docstring(value)
        for one in sorted(getattr(value, "__all__", ())):
            function = getattr(value, one)
            if callable(function):
                yield f"### {name}.{one}"
                yield _signature(function, one)
                yield _docstring(function)
        return
    if callable(value) and not (inspect.isclass(value) and issubclass(value, enum.Enum)):
        yield _signature(value, name)
    yield _docstring(value)
    if inspect.isclass(value):
        for member, function in _methods(value):
            yield f"### {name}.{member}"
            if not isinstance(function, property):
                yield _signature(getattr(value, member), member)
            yield _docstring(function)


def _methods(value: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that the package itself defines."""
    seen = set()
    for kind in value.__mro__:
        if not kind.__module__.startswith("maclip"):
            continue
        for name, member in vars(kind).items():
            function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
            if (
                name.startswith("_")
                or name in seen
                or not (inspect.isfunction(function) or isinstance(member, property))
            ):
                continue
            seen.add(name)
            if inspect.getdoc(function):
                yield name, function


def _signature(value: Any, name: str) -> str:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    parameters = [_shown(one) for one in signature.parameters.values() if one.name != "self"]
    kinds = [one.kind for one in signature.parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        parameters.insert(
            [one.kind for one in signature.parameters.values() if one.name != "self"].index(
                inspect.Parameter.KEYWORD_ONLY
            ),
            "*",
        )
    returned = signature.return_annotation
    ends = "" if returned is inspect.Signature.empty or inspect.isclass(value) else f" -> {_name(returned)}"
    line = f"{name}({', '.join(parameters)}){ends}"
    if len(line) > 100:
        line = f"{name}(\n" + "".join(f"    {one},\n" for one in parameters) + f"){ends}"
    return f"```python\n{line}\n```"


def _shown(one: inspect.Parameter) -> str:
    kinds = inspect.Parameter
    stars = "*" if one.kind is kinds.VAR_POSITIONAL else "**" if one.kind is kinds.VAR_KEYWORD else ""
    text = stars + one.name
    if one.annotation is not inspect.Parameter.empty:
        text += f": {_name(one.annotation)}"
    if one.default is inspect.Parameter.empty:
        return text
    default = "..." if dataclasses.is_dataclass(one.default) or "object at" in repr(one.default) else repr(one.default)
    return f"{text} = {default}"


def _name(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text)


def _docstring(value: Any) -> str:
    """A docstring as Markdown: paragraphs, parameters as a list, examples as code."""
    parts: list[str] = []
    for block in re.split(r"\n\s*\n", inspect.getdoc(value) or ""):
        lines = block.splitlines()
        if lines and lines[0].startswith(">>>"):
            parts.append("```python\n" + block.replace("  # doctest: +SKIP", "") + "\n```")
        elif lines and lines[0] == "Args:":
            parts.append(_parameters(inspect.cleandoc("\n".join(lines[1:])).splitlines()))
        elif lines and PARAMETER.match(lines[0]) and not lines[0].startswith(("Raises", "Returns")):
            parts.append(_parameters(lines))
        elif lines and all(line.startswith("    ") for line in lines):
            parts.append("```\n" + inspect.cleandoc(block) + "\n```")
        else:
            parts.append(_escaped(" ".join(lines)))
    return "\n\n".join(parts)


def _parameters(lines: list[str]) -> str:
    items: list[str] = []
    for line in lines:
        if found := PARAMETER.match(line):
            items.append(f"- **{_escaped(found[1])}**: {_escaped(found[2])}")
        elif items and line.startswith("    "):
            items[-1] += " " + _escaped(line.strip())
        else:
            items.append("\n" + _escaped(line))
    return "\n".join(items)


def _escaped(text: str) -> str:
    """Text in which only code in backquotes is Markdown."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_\[\]<>|])", r"\\\1", part) for part in parts)
