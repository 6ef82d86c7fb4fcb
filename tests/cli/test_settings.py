"""Options from maclip.toml and from the environment: which one counts, what is refused, what is shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from maclip_cli import console
from maclip_cli.commands import commands
from maclip_cli.device.app import app as device
from maclip_cli.settings import ignore_settings, settings_of
from maclip_cli.workstation.app import app as workstation
from maclip_runtime.errors import MaclipError

APPS = {"maclip-run": device, "maclip": workstation}
BOTH = ["--bundle", "b", "--gallery", "g.db"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, no file of the user's, and no variable."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    for name in ("MACLIP_BUNDLE", "MACLIP_GALLERY", "MACLIP_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def taken(program: str, *arguments: str) -> dict[str, Any]:
    """The options of a command as the program takes them; nothing is run."""
    command = typer.main.get_command(APPS[program])
    context = command.make_context(program, [*arguments], default_map=settings_of(program, command).apply())
    group, rest = context.command, [*arguments]
    while hasattr(group, "commands"):
        group = group.commands[rest[0]]
        context, rest = group.make_context(rest[0], rest[1:], parent=context), rest[1:]
    return context.params


def refused(text: str, program: str = "maclip-run") -> MaclipError:
    Path("maclip.toml").write_text(text)
    with pytest.raises(MaclipError) as caught:
        settings_of(program, typer.main.get_command(APPS[program]))
    assert caught.value.code == "settings-invalid"
    return caught.value


def test_what_counts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def window(*arguments: str) -> object:
        return taken("maclip-run", "recognize", "a.mp4", *BOTH, *arguments)["window"]

    assert window() is None
    own = place / "home" / "maclip" / "maclip.toml"
    own.parent.mkdir(parents=True)
    own.write_text("[maclip-run]\nwindow = 1\nhop = 9\n")
    assert window() == 1
    Path("maclip.toml").write_text("[maclip-run]\nwindow = 2\n")
    assert window() == 2
    Path("maclip.toml").write_text("[maclip-run]\nwindow = 2\n[maclip-run.recognize]\nwindow = 3\n")
    assert window() == 3
    assert taken("maclip-run", "index", "a.mp4", "--store", "s", "--bundle", "b")["window"] == 2
    monkeypatch.setenv("MACLIP_WINDOW", "4")
    assert window() == 4
    assert window("--window", "5") == 5
    assert taken("maclip-run", "recognize", "a.mp4", *BOTH)["hop"] == 9, "both files are read"
    monkeypatch.setenv("MACLIP_CONFIG", "none")
    assert taken("maclip-run", "recognize", "a.mp4", *BOTH)["hop"] is None
    other = place / "other.toml"
    other.write_text("[maclip-run]\nhop = 8\n")
    monkeypatch.setenv("MACLIP_CONFIG", str(other))
    assert taken("maclip-run", "recognize", "a.mp4", *BOTH)["hop"] == 8


def test_every_kind_of_option(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("maclip.toml").write_text(
        """
        [maclip-run]
        bundle = "~/b"
        gallery = "g.db"
        [maclip-run.recognize]
        to = ["a.jsonl", "-"]
        overlap = true
        log = "json"
        [maclip-run."gallery list"]
        json = true
        [maclip.train]
        episodes = 7
        """
    )
    found = taken("maclip-run", "recognize", "a.mp4")
    assert (list(found["to"]), found["overlap"], found["log"]) == (["a.jsonl", "-"], True, "json")
    assert str(found["bundle"]) == str(Path("~/b").expanduser())
    assert str(taken("maclip-run", "info")["bundle"]) == str(Path("~/b").expanduser()), (
        "an argument that has a variable"
    )
    assert taken("maclip-run", "gallery", "list")["as_json"] is True
    assert taken("maclip", "train")["episodes"] == 7
    monkeypatch.setenv("MACLIP_TO", "x.jsonl y.jsonl")
    monkeypatch.setenv("MACLIP_OVERLAP", "0")
    found = taken("maclip-run", "recognize", "a.mp4")
    assert (list(found["to"]), found["overlap"]) == (["x.jsonl", "y.jsonl"], False)


@pytest.mark.parametrize(
    ("text", "where", "what", "fix"),
    [
        ('[maclip-run]\n\nwindow = "abc"', "line 3", "window cannot be 'abc'", "maclip-run calibrate --help"),
        ("[maclip-run]\nwindw = 2", "line 2", "there is no option 'windw'", "Write 'window'"),
        ("[maclip-run]\nqqq = 2", "line 2", "there is no option 'qqq'", "config --all"),
        ("[maclip-run.recognize]\nstore = 2", "line 2", "recognize has no option 'store'", "config --all"),
        ("[maclip-run.recognise]", "line 1", "there is no command 'recognise'", "Write 'recognize'"),
        ("#\n[maclip-run.recognize]\noverlap = 'yes'", "line 3", "it is true or false", "--help"),
        ("[maclip-run.recognize]\nto = 'a'", "line 2", "it is a list of texts", "--help"),
        ("[maclip-run.recognize]\nwindow = [1]", "line 2", "it is one text or number", "--help"),
        ("[maclip-run.recognize]\nlog = 'xml'", "line 2", "'text', 'json'", "--help"),
        ("[maclip-run]\njson = true", "line 2", "--json is not the same for all commands", "[maclip-run."),
        ("[maclip-run]\ninsecure = true", "line 2", "--insecure is only taken from the command line", "Remove"),
        ("[maclip-run.enroll]\nforce = true", "line 2", "--force is only taken from the command line", "Remove"),
        ("[other]\na = 1", "line 1", "'other' belongs to no program", "[maclip] and [maclip-run]"),
        ("window = 2", "line 1", "'window' belongs to no program", "[maclip] and [maclip-run]"),
        ("[maclip-run]\nwindow = =\nhop = 2", "line 2", "cannot be read", "MACLIP_CONFIG=none"),
        ("[maclip-run.recognize]\nto = 'mqtt://me:secret@host/t'", "line 2", "mqtt://***@host/t", "--help"),
    ],
)
def test_what_is_refused(text: str, where: str, what: str, fix: str) -> None:
    error = refused(text)
    assert "maclip.toml" in error.message
    assert where in error.message
    assert what in error.message
    assert fix in error.fix
    assert "secret" not in str(error)


def test_a_file_that_cannot_be_trusted_or_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "larger than" in refused("#" * (1 << 20) + "#").message
    text = "[maclip-run]\nwindow = 2\n"
    real = os.fstat
    monkeypatch.setattr(
        os, "fstat", lambda descriptor: os.stat_result((*real(descriptor)[:4], 12345, *real(descriptor)[5:]))
    )
    assert "another user" in refused(text).message
    monkeypatch.setenv("MACLIP_CONFIG", "maclip.toml")
    command = typer.main.get_command(device)
    assert settings_of("maclip-run", command).found, "whoever names it has looked at it"


def test_a_wrong_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "MACLIP_WINDOW": "abc"})
    error = refused("")
    assert error.message.startswith("MACLIP_WINDOW=abc does not fit --window of ")
    assert "unset" in error.fix
    ignore_settings()
    assert "MACLIP_WINDOW" not in os.environ
    assert settings_of("maclip-run", typer.main.get_command(device)).files == ()


def test_config_shows_values_with_their_origin_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("maclip.toml").write_text(
        "[maclip-run.recognize]\nto = ['mqtt://me:secret@host/t']\n[maclip.train]\nway = 3\n"
    )
    monkeypatch.setenv("MACLIP_WINDOW", "4")
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(device, ["config"]).output
    assert "maclip.toml: read" in shown
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines()]
    assert ["--to", "mqtt://***@host/t", "maclip.toml, line 2", "recognize"] in lines
    assert ["--window", "4", "MACLIP_WINDOW", "calibrate, recognize, index, serve"] in lines
    assert "secret" not in shown
    assert "│ maclip.toml, line 4 │ train " in CliRunner().invoke(workstation, ["config"]).output
    one = [
        json.loads(line) for line in CliRunner().invoke(device, ["config", "recognize", "--json"]).output.splitlines()
    ]
    assert {"command": "recognize", "option": "--keep", "value": "5", "origin": "default"} in one
    assert all(row["command"] == "recognize" for row in one)
    everything = CliRunner().invoke(device, ["config", "--all", "--json"]).output.splitlines()
    assert {json.loads(line)["command"] for line in everything} == {name for name, _ in commands(device)}
    with pytest.raises(MaclipError, match="no command 'x'"):
        CliRunner().invoke(device, ["config", "x"], catch_exceptions=False)


def test_quiet_verbose_and_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    colored = CliRunner().invoke(device, ["config", "info"], env={"FORCE_COLOR": "1", "TERM": "xterm"}).output
    assert "\x1b[1m" in colored
    plain = CliRunner().invoke(device, ["config", "info"], env={"FORCE_COLOR": "1", "TERM": "xterm", "NO_COLOR": "1"})
    assert "\x1b[3" not in plain.output
    CliRunner().invoke(device, ["config", "--quiet"])
    assert console.people().quiet
    CliRunner().invoke(device, ["config"])
    assert not console.people().quiet


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str) -> None:
    script = CliRunner().invoke(device, ["completion", shell]).output
    assert "_MACLIP_RUN_COMPLETE" in script
    assert "maclip-run" in script


def test_the_shell_gets_its_completions() -> None:
    asked = {"_MACLIP_RUN_COMPLETE": "complete_bash", "COMP_WORDS": "maclip-run gallery re", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "maclip_cli.device"], env={**os.environ, **asked}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["remove", "rename"], done.stderr
