"""Every command, option, extra and program that the README and docs/ name is there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from videos import color_video

import maclip
from maclip_cli.commands import commands
from maclip_cli.device.app import app as device
from maclip_cli.device.examples import EXAMPLES as DEVICE
from maclip_cli.workstation.app import app as workstation
from maclip_cli.workstation.examples import EXAMPLES as WORKSTATION
from maclip_runtime import Recognizer

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = {"maclip": typer.main.get_command(workstation), "maclip-run": typer.main.get_command(device)}
# Stands in for a command: writes down what it was called with, a line a call.
WRITES_DOWN = '#!/bin/sh\n{ printf "%s\\037" "${0##*/}" "$@"; echo; } >> "$CALLS"\n'
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
# What a page writes for words of the reader's own.
PLACES = {"…": "given", "FILE": "given.json"}
OF_OTHER_PROGRAMS = {"--model-repository", "--nnodes", "--node-rank", "--system-site-packages"}
OF_BENCHMARKS = {"--json", "--figure", "--smallest", "--bundle", "--also"}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, *kinds: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(text_of(page)) if kind in kinds]


def shown(page: Path) -> Iterator[str]:
    """The command lines of a page's blocks."""
    for body in blocks(page, "", "bash", "console"):
        for line in body.replace("\\\n", " ").splitlines():
            command = line.removeprefix("$ ")
            if command.startswith(("maclip ", "maclip-run ")):
                yield command.partition(" > ")[0]


def mentioned(page: Path) -> Iterator[str]:
    """What stands between single backquotes in a page's text."""
    for code in re.findall(r"`([^`]+)`", BLOCK.sub("", text_of(page))):
        yield " ".join(code.split())


def parse(words: list[str]) -> tuple[Any, dict[str, object]]:
    """The command that `words` call, and its options as the command line takes them; nothing is run."""
    command, rest = COMMANDS[words[0]], words[1:]
    name = words[0]
    while hasattr(command, "commands"):
        name = rest.pop(0)
        assert name in command.commands, f"{' '.join(words)}: no command {name}"
        command = command.commands[name]
    return command, command.make_context(name, list(rest)).params


def options(command: Any) -> set[str]:
    """Every option of a command and of the commands below it."""
    found = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)} | {"--help"}
    return found.union(*(options(below) for below in getattr(command, "commands", {}).values()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_blocks_are_taken_by_the_command_line(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r"(MACLIP_(?:BUNDLE|GALLERY))=", text_of(page)):
        monkeypatch.setenv(name, "given")
    for line in shown(page):
        parse([PLACES.get(word, word) for word in shlex.split(line, comments=True)])


@pytest.mark.parametrize(("program", "examples"), [("maclip", WORKSTATION), ("maclip-run", DEVICE)])
def test_the_help_of_every_command_has_examples_that_it_takes(
    program: str, examples: dict[str, tuple[str, ...]]
) -> None:
    names = dict(commands(workstation if program == "maclip" else device))
    assert set(examples) == set(names)
    for name, lines in examples.items():
        for line in lines:
            command, _, _ = line.removeprefix('eval "$(').partition(" > ")
            words = shlex.split(command.removesuffix(')"'))
            assert words[: 1 + len(name.split())] == [program, *name.split()]
            parse(words)
            assert line.replace("[", "\\[") in names[name].epilog


def test_pages_show_commands() -> None:
    counts = {page.name: len(list(shown(page))) for page in PAGES}
    for name in ("README.md", "training.md", "export.md", "device.md", "gallery.md"):
        assert counts[name], "the pattern finds the commands"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_in_the_text_exist(page: Path) -> None:
    everywhere = options(COMMANDS["maclip"]) | options(COMMANDS["maclip-run"]) | OF_BENCHMARKS
    for code in mentioned(page):
        words = code.split()
        if words[0] in COMMANDS:
            command = COMMANDS[words[0]]
            for word in words[1:]:
                if word.startswith("--"):
                    assert word in options(command), code
                elif word in getattr(command, "commands", {}):
                    command = command.commands[word]
                elif hasattr(command, "commands"):
                    assert word == "…", f"{code}: no command {word}"
        elif words[0].startswith("--"):
            assert words[0].split("=")[0] in everywhere | OF_OTHER_PROGRAMS, code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_programs_extras_and_targets_exist(page: Path) -> None:
    text = text_of(page)
    project = text_of(ROOT / "pyproject.toml")
    for module in re.findall(r"python -m\s+(benchmarks(?:\.\w+)+)", text):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file(), module
    for path in re.findall(r"`((?:samples|maclip|runtime|export|cli|tests|benchmarks)/[\w/.-]+)`", text):
        assert (ROOT / path).exists(), path
    for extras in re.findall(r"'(?:maclip|\.)\[([\w,]+)\]'", text):
        for extra in extras.split(","):
            assert re.search(rf"^{extra} = \[", project, re.M), extra
    for target in re.findall(r"(?:^|`)make (\w+)", text, re.M):
        assert re.search(rf"^{target}:", text_of(ROOT / "Makefile"), re.M), target


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "training.md", ROOT / "docs" / "device.md"], ids=str)
def test_what_python_blocks_use_is_exported(page: Path) -> None:
    code = "\n".join(blocks(page, "python"))
    compile(code, page.name, "exec")
    for name in re.findall(r"\bmaclip\.(\w+)", code):
        assert hasattr(maclip, name), name
    for name in re.findall(r"\bmaclip\.TrainConfig\.of\((.*?)\)", code):
        maclip.TrainConfig.of(**{key: json.loads(value) for key, value in re.findall(r"(\w+)=([\w.-]+)", name)})
    for name in re.findall(r"\brecognizer\.(\w+)", code):
        assert hasattr(Recognizer, name), name


def test_the_python_of_the_readme_runs(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (code,) = blocks(README, "python")
    for path in re.findall(r'"(demo/clips/[^"]+)"', code):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        color_video(file, [("red", 2.0)])
    (tmp_path / "demo" / "bundle").symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, README.name, "exec"), {"__name__": "__main__"})
    first, *events = capsys.readouterr().out.splitlines()
    assert first == "growing"
    assert events[0].startswith("start growing")
    assert events[-1].startswith("end growing")


def calls(script: str, folder: Path) -> list[list[str]]:
    """What `script` calls `maclip-run` with."""
    stand_in = folder / "bin" / "maclip-run"
    stand_in.parent.mkdir(parents=True)
    stand_in.write_text(WRITES_DOWN)
    stand_in.chmod(0o755)
    path = os.pathsep.join([str(stand_in.parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "CALLS": str(folder / "calls")}
    subprocess.run(["bash", "-c", script], env=env, check=True, timeout=60, cwd=folder)
    return [line.split("\x1f")[:-1] for line in (folder / "calls").read_text().splitlines()]


def test_the_sample_runs_the_commands_of_the_readme(tmp_path: Path) -> None:
    (block,) = blocks(README, "console")
    typed = "\n".join(line[2:] for line in block.splitlines() if line.startswith("$ "))
    sample = calls(text_of(ROOT / "samples" / "first_clips.sh"), tmp_path / "sample")
    readme = calls(typed, tmp_path / "readme")
    assert len(readme) == 5
    assert all(call in sample for call in readme)
    assert len(sample) == len(readme) + 5  # five more actions are enrolled
    for call in sample:
        parse([*call, "--bundle", "bundle", "--gallery", "robot.db"])
