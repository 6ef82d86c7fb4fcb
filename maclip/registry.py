"""Registries: parts of the model by name. A new part is one file that registers itself; nothing else names it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

from maclip_runtime.errors import MaclipError

Part = TypeVar("Part")
Made = TypeVar("Made")


class Registry(dict[str, Part]):
    """Parts of one kind by name. `kind`: what a part is, in words for errors: "metric"."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def register(self, name: str) -> Callable[[Made], Made]:
        """A decorator that registers what it decorates under `name`."""

        def add(part: Made) -> Made:
            self[name] = part  # type: ignore[assignment]
            return part

        return add

    def find(self, name: str) -> Part:
        """The part called `name`. Raises `<kind>-unknown`."""
        if name not in self:
            raise MaclipError(
                f"{self.kind.replace(' ', '-')}-unknown",
                f"There is no {self.kind} {name!r}.",
                f"Choose one of: {', '.join(self)}.",
            )
        return self[name]


def import_all(package: str, folder: list[str]) -> None:
    """Import every module of `package`, whose `__path__` is `folder`, so that each registers its parts."""
    for file in iter_modules(folder):
        import_module(f"{package}.{file.name}")
