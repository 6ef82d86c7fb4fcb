"""Options from `maclip.toml` and from environment variables: what counts where the command line does not give one.

    [maclip-run]                  # every command of maclip-run that has the option
    bundle = "bundle"
    gallery = "robot.db"

    [maclip-run.recognize]        # this command; for `gallery list`: [maclip-run."gallery list"]
    window = 2.0
    to = ["events.jsonl"]

The command line wins over MACLIP_BUNDLE and the like, those over ./maclip.toml, that over the user's own maclip.toml,
and that over the option's default. In one file the table of a command wins over that of the program.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from maclip_runtime.errors import MaclipError, first_line
from maclip_runtime.redaction import redact

FILE = "maclip.toml"
PROGRAMS = ("maclip", "maclip-run")
CONFIG_VARIABLE = "MACLIP_CONFIG"
NO_FILE = "none"
# Variables that mean something else than the option of that name. Kubernetes sets MACLIP_PORT for a service "maclip".
RESERVED = {CONFIG_VARIABLE, "MACLIP_CACHE", "MACLIP_DEBUG", "MACLIP_PORT"}
# These accept a risk or replace something, so they are typed each time.
TYPED_ONLY = {"allow-loss", "clear", "force", "help", "insecure", "new-token", "trust-engines", "version", "yes"}

Option = Any  # of typer, or of click in older versions of it


@dataclass(frozen=True)
class Setting:
    """A value that does not come from the command line.

    command: the command that it is for, such as "gallery list".
    key: the option's name without dashes.
    value: as the command line would have it: text, a tuple of texts, or True and False.
    origin: the file and line, or the variable.
    from_file: whether it comes from a file.
    """

    command: str
    key: str
    value: str | tuple[str, ...] | bool
    origin: str
    from_file: bool

    @property
    def shown(self) -> str:
        """The value for people, without credentials."""
        parts = self.value if isinstance(self.value, tuple) else (self.value,)
        return ", ".join(str(part).lower() if isinstance(part, bool) else redact(part) for part in parts)


class Known:
    """The commands of a program with their options that can be set.

    options: by command, such as "gallery list", and by key.
    """

    def __init__(self, command: Any) -> None:
        self.command = command
        self.options = dict(_options(command))
        kinds: dict[str, set[tuple[bool, bool]]] = {}
        for options in self.options.values():
            for key, one in options.items():
                kinds.setdefault(key, set()).add((getattr(one, "is_flag", False), getattr(one, "multiple", False)))
        self._differ = {key for key, found in kinds.items() if len(found) > 1}

    def means_one_thing(self, key: str) -> bool:
        """Whether all commands that have the option take values of one kind for it."""
        return key not in self._differ

    def variable(self, key: str) -> str | None:
        """The environment variable of a key; None where commands mean different things by it."""
        variable = f"MACLIP_{key.replace('-', '_').upper()}"
        return None if variable in RESERVED or not self.means_one_thing(key) else variable

    def context(self, name: str) -> Any:
        """A context of click in which nothing is run."""
        command = self.command
        for part in name.split():
            command = command.commands[part]
        return command.make_context(name, [], resilient_parsing=True)

    def problem(self, name: str, key: str, value: str | tuple[str, ...] | bool) -> str | None:
        """Why an option of a command does not take a value; None where it does."""
        try:
            self.options[name][key].process_value(self.context(name), value)
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            why = first_line(getattr(error, "message", None) or error.format_message())
            return why.removeprefix("Value error, ").rstrip(".")
        return None


@dataclass(frozen=True)
class Settings:
    """What variables and files set, the strongest first, and the files that were looked for."""

    found: tuple[Setting, ...]
    files: tuple[tuple[Path, bool], ...]  # with whether it is there
    known: Known

    def apply(self) -> dict[str, Any]:
        """Give the options their variables; what files set is returned, as click's `default_map`."""
        for options in self.known.options.values():
            for key, option in options.items():
                if option.envvar is None and (variable := self.known.variable(key)):
                    option.envvar, option.show_envvar = variable, False
        defaults: dict[str, Any] = {}
        for one in reversed(self.found):
            if one.from_file:
                place = defaults
                for part in one.command.split():
                    place = place.setdefault(part, {})
                place[self.known.options[one.command][one.key].name] = one.value
        return defaults


def settings_of(program: str, command: Any) -> Settings:
    """Read and check the settings of a program whose click command is `command`. Raises `settings-invalid`."""
    from maclip_cli.settings_file import SettingsFile

    known = Known(command)
    found = [*_of_environment(known)]
    files = [(path, path.is_file()) for path in settings_files()]
    for path, there in files:
        if there:
            found += SettingsFile(path, program, known).settings()
    return Settings(tuple(found), tuple(files), known)


def settings_files() -> list[Path]:
    """Where `maclip.toml` is looked for, the strongest first: MACLIP_CONFIG, else the working folder and the user's."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return [] if named == NO_FILE else [Path(named)]
    return [Path(FILE), Path(typer.get_app_dir("maclip")) / FILE]


def ignore_settings() -> None:
    """Keep the commands that this process starts from reading files and variables of settings."""
    for name in [name for name in os.environ if name.startswith("MACLIP_") and name not in RESERVED]:
        del os.environ[name]
    os.environ[CONFIG_VARIABLE] = NO_FILE


def key_of(option: Option) -> str | None:
    """The name of an option in a file; None where it is only taken from the command line."""
    if option.param_type_name == "argument":
        return option.name if option.envvar else None
    key = next((flag[2:] for flag in option.opts if flag.startswith("--")), None)
    return None if key in TYPED_ONLY else key


def _options(command: Any, before: str = "") -> Iterator[tuple[str, dict[str, Option]]]:
    for name, below in command.commands.items():
        if hasattr(below, "commands"):
            yield from _options(below, f"{before}{name} ")
        else:
            yield before + name, {key: one for one in below.params if (key := key_of(one))}


def _of_environment(known: Known) -> Iterator[Setting]:
    for name, options in known.options.items():
        for key, option in options.items():
            variable = option.envvar or known.variable(key)
            value = os.environ.get(variable) if variable else None
            if variable and value:
                taken = tuple(value.split()) if getattr(option, "multiple", False) else value
                if why := known.problem(name, key, taken):
                    raise MaclipError(
                        "settings-invalid",
                        f"{variable}={redact(value)} does not fit --{key} of {name}: {why}.",
                        f"Change {variable}, or unset it.",
                    )
                yield Setting(name, key, taken, variable, from_file=False)
