"""Which class opens which address. Kinds register themselves: those of this package, a program's and a plugin's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Generic, TypeVar

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.sources.address import redact, scheme_of
from maclip_runtime.sources.base import Source
from maclip_runtime.sources.options import SourceOptions

Opener = TypeVar("Opener", bound=Callable[..., Any])
OpenSource = TypeVar("OpenSource", bound=Callable[[str, SourceOptions], Source])


@dataclass(frozen=True)
class Kind(Generic[Opener]):
    """One kind of source or sink: what opens it, and which addresses it serves.

    open: called with the address and the options.
    schemes: in lower case; "" stands for a plain path.
    matches: further addresses that it serves; asked before any scheme.
    forms: how its addresses are written, for error messages.
    live: whether its sources are cameras or streams rather than something on disk.
    recorded: whether opening an address again gives the same frames, as a file does.
    """

    open: Opener
    schemes: tuple[str, ...]
    matches: Callable[[str], bool] | None
    forms: tuple[str, ...]
    live: bool
    recorded: bool = False


class Registry(Generic[Opener]):
    """The kinds of sources, or those of sinks.

    noun: "source" or "sink", for error codes and messages.
    package: the package whose files are this project's own kinds; imported at the first look-up.
    group: the entry-point group in which other distributions name theirs, by scheme.
    """

    def __init__(self, noun: str, package: str, group: str) -> None:
        self._noun = noun
        self._package = package
        self._group = group
        self._kinds: list[Kind[Opener]] = []  # the later one wins
        self._loaded = False
        self._loading = threading.RLock()

    def add(self, kind: Kind[Opener]) -> None:
        """Register a kind. Another program's kind takes precedence over this package's, and a later one over both."""
        own = getattr(kind.open, "__module__", "").startswith(f"{self._package}.")
        self._kinds.insert(0 if own else len(self._kinds), kind)

    def find(self, uri: str) -> Kind[Opener]:
        """The kind that serves `uri`. Raises `source-unknown` or `sink-unknown`, and as `get` does."""
        kind = self.get(uri)
        if kind is None:
            raise MaclipError(
                f"{self._noun}-unknown",
                f"maclip knows no {self._noun} of the form {redact(uri)}.",
                f"Use one of: {', '.join(self._forms())}.",
            )
        return kind

    def get(self, uri: str) -> Kind[Opener] | None:
        """The kind that serves `uri`, None where there is none.

        Raises `source-missing` or `sink-missing` where an installed distribution names the scheme but fails to load.
        """
        self._load_own()
        return self._registered(uri) or self._installed(uri)

    def _registered(self, uri: str) -> Kind[Opener] | None:
        newest_first = self._kinds[::-1]
        scheme = scheme_of(uri)
        matching = (kind for kind in newest_first if kind.matches and kind.matches(uri))
        serving = (kind for kind in newest_first if scheme in kind.schemes)
        return next(matching, None) or next(serving, None)

    def _installed(self, uri: str) -> Kind[Opener] | None:
        """The kind of another distribution, loaded through its entry point."""
        from importlib.metadata import entry_points

        scheme = scheme_of(uri)
        for entry in entry_points(group=self._group):
            if entry.name.lower() != scheme:
                continue
            try:
                entry.load()
            except Exception as error:  # whatever a stranger's module does when it is imported
                why = f"{type(error).__name__}: {error}"
                raise self._missing(scheme, entry.value, f"cannot be imported ({why})") from error
            kind = self._registered(uri)
            if kind is None:
                raise self._missing(scheme, entry.value, f"does not register a {self._noun} for it")
            return kind
        return None

    def _missing(self, scheme: str, module: str, why: str) -> MaclipError:
        return MaclipError(
            f"{self._noun}-missing",
            f"{scheme}:// is provided by {module}, which {why}.",
            "Install or repair the package that provides it.",
            EXIT_MACHINE_LACKS,
        )

    def _forms(self) -> list[str]:
        from importlib.metadata import entry_points

        registered = [form for kind in self._kinds[::-1] for form in kind.forms]
        installed = [f"{entry.name.lower()}://" for entry in entry_points(group=self._group)]
        return list(dict.fromkeys([*registered, *installed]))

    def _load_own(self) -> None:
        with self._loading:
            if not self._loaded:
                for file in iter_modules(import_module(self._package).__path__):
                    import_module(f"{self._package}.{file.name}")
                self._loaded = True


SOURCES: Registry[Callable[[str, SourceOptions], Source]] = Registry(
    "source", "maclip_runtime.sources.kinds", "maclip.sources"
)


def source(
    *schemes: str,
    live: bool = False,
    recorded: bool = False,
    matches: Callable[[str], bool] | None = None,
    forms: Sequence[str] | None = None,
) -> Callable[[OpenSource], OpenSource]:
    """Register what opens a kind of source: a `Source` class or a function, called with the address and the options.

    schemes: the schemes that it serves, without "://"; case does not matter.
    live: whether these are cameras or streams, which go on without their reader.
    recorded: whether opening an address again gives the same frames, so that it can be enrolled as a clip.
    matches: tells whether it serves an address; for addresses without a scheme of their own.
    forms: how its addresses are written, for error messages; default: each scheme with "://".
    """

    def register(opener: OpenSource) -> OpenSource:
        SOURCES.add(kind_of(opener, schemes, matches, forms, live, recorded))
        return opener

    return register


def kind_of(
    opener: Opener,
    schemes: Sequence[str],
    matches: Callable[[str], bool] | None,
    forms: Sequence[str] | None,
    live: bool = False,
    recorded: bool = False,
) -> Kind[Opener]:
    """A kind with its schemes in lower case and its default forms."""
    lower = tuple(scheme.lower() for scheme in schemes)
    shown = tuple(f"{scheme}://" for scheme in lower) if forms is None else tuple(forms)
    return Kind(opener, lower, matches, shown, live, recorded)
