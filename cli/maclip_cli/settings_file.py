"""One `maclip.toml`: read, and checked against the options of a program."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from maclip_cli.settings import (
    CONFIG_VARIABLE,
    NO_FILE,
    PROGRAMS,
    TYPED_ONLY,
    Known,
    Option,
    Setting,
)
from maclip_runtime.errors import MaclipError, first_line
from maclip_runtime.redaction import redact

MAX_FILE_BYTES = 1 << 20


class SettingsFile:
    """A file that is there, for one program. Raises `settings-invalid`."""

    def __init__(self, path: Path, program: str, known: Known) -> None:
        self._path, self._program, self._known = path, program, known
        self._lines: list[str] = []

    def settings(self) -> list[Setting]:
        """What the file sets, the strongest first."""
        known = self._known.options
        own: list[Setting] = []
        general: list[Setting] = []
        for key, value in self._table().items():
            if isinstance(value, dict):
                if key not in known:
                    self._refuse(f"there is no command {key!r}", key, known, self._line_of_table(key))
                own += [self._setting(key, one, content, self._line(key, one)) for one, content in value.items()]
                continue
            line = self._line("", key)
            having = [name for name, options in known.items() if key in options]
            if not having:
                everywhere = {one for options in known.values() for one in options}
                self._refuse(f"there is no option {key!r}", key, everywhere, line)
            if not self._known.means_one_thing(key):
                fix = f"Set it in the table of a command, such as [{self._program}.{having[0]}]."
                raise self._invalid(f"--{key} is not the same for all commands", line, fix)
            general += [self._setting(name, key, value, line) for name in having]
        return own + general

    def _table(self) -> dict[str, Any]:
        content = self._read()
        for key, value in content.items():
            if key not in PROGRAMS or not isinstance(value, dict):
                names = " and ".join(f"[{name}]" for name in PROGRAMS)
                line = self._line_of_table(key) if isinstance(value, dict) else self._line(None, key)
                raise self._invalid(f"{key!r} belongs to no program", line, f"The tables are {names}.")
        table: dict[str, Any] = content.get(self._program, {})
        return table

    def _read(self) -> dict[str, Any]:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib

        try:
            with self._path.open("rb") as opened:
                owner = os.fstat(opened.fileno()).st_uid
                raw = opened.read(MAX_FILE_BYTES + 1)
            if len(raw) > MAX_FILE_BYTES:
                raise ValueError(f"it is larger than {MAX_FILE_BYTES >> 20} MiB")
            self._lines = raw.decode().splitlines()
            content = tomllib.loads(raw.decode())
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
            raise MaclipError(
                "settings-invalid",
                f"{self._path} cannot be read ({why}).",
                f"Correct it; {CONFIG_VARIABLE}={NO_FILE} ignores it.",
            ) from error
        if hasattr(os, "getuid") and owner not in (0, os.getuid()) and os.environ.get(CONFIG_VARIABLE) is None:
            raise MaclipError(
                "settings-invalid",
                f"{self._path} belongs to another user.",
                f"Read it, then set {CONFIG_VARIABLE} to its path; {CONFIG_VARIABLE}={NO_FILE} ignores it.",
            )
        return content

    def _setting(self, command: str, key: str, value: Any, line: int) -> Setting:
        options = self._known.options[command]
        if key not in options:
            self._refuse(f"{self._program} {command} has no option {key!r}", key, options, line)
        taken = _as_typed(options[key], value)
        why = _expected(options[key]) if taken is None else self._known.problem(command, key, taken)
        if taken is None or why:
            shown = redact(str(value))
            raise self._invalid(
                f"{key} cannot be {shown!r}: {why}", line, f"`{self._program} {command} --help` says what it takes."
            )
        return Setting(command, key, taken, f"{self._path}, line {line}", from_file=True)

    def _refuse(self, sentence: str, key: str, known: Iterable[str], line: int) -> NoReturn:
        if key in TYPED_ONLY:
            raise self._invalid(
                f"--{key} is only taken from the command line", line, f"Remove {key!r} from the file, and type it."
            )
        near = difflib.get_close_matches(key, list(known), 1)
        raise self._invalid(
            sentence, line, f"Write {near[0]!r}." if near else f"`{self._program} config --all` lists what can be set."
        )

    def _invalid(self, what: str, line: int, fix: str) -> MaclipError:
        return MaclipError("settings-invalid", f"{self._path}, line {line}: {what}.", fix)

    def _line(self, command: str | None, key: str) -> int:
        """The line of a key in the table of a command ("": of the program; None: above all tables); 1 if not found."""
        inside = command is None
        table = f"{self._program}.{command}" if command else self._program
        for number, line in enumerate(self._lines, 1):
            if head := _head(line):
                inside = command is not None and head == table
            elif inside and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", line):
                return number
        return 1

    def _line_of_table(self, name: str) -> int:
        for number, line in enumerate(self._lines, 1):
            if (head := _head(line)) and name in (head, head.partition(".")[0], head.partition(".")[2]):
                return number
        return 1


def _head(line: str) -> str:
    """The name of the table that a line begins, without quotes; empty for other lines."""
    found = re.match(r"\s*\[+\s*(.+?)\s*\]+", line)
    return re.sub(r"[\"']", "", found[1]) if found else ""


def _as_typed(option: Option, value: Any) -> str | tuple[str, ...] | bool | None:
    """A value as the command line would have it; None for one of another type."""
    if getattr(option, "is_flag", False):
        return value if isinstance(value, bool) else None
    if getattr(option, "multiple", False):
        parts = [_text(one) for one in value] if isinstance(value, list) else [None]
        return None if None in parts else tuple(part for part in parts if part is not None)
    return _text(value)


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    text = str(value)
    return os.path.expanduser(text) if text.startswith("~/") else text


def _expected(option: Option) -> str:
    if getattr(option, "is_flag", False):
        return "it is true or false"
    return "it is a list of texts" if getattr(option, "multiple", False) else "it is one text or number"
