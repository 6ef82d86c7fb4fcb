"""The recipes for the paper's data sets say commands that this version has, for one shot and for five."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import typer.main

from maclip_cli.workstation.app import app

RECIPES = sorted((Path(__file__).parents[3] / "samples" / "recipes").glob("*.sh"))
# Stands in for maclip: writes down what it was called with, a line a call.
WRITES_DOWN = '#!/bin/sh\nfor word in "$@"; do printf "%s\\037" "$word"; done >> "$CALLS"\necho >> "$CALLS"\n'


def calls(recipe: Path, folder: Path) -> list[list[str]]:
    """What `recipe` calls maclip with."""
    stand_in = folder / "bin" / "maclip"
    stand_in.parent.mkdir()
    stand_in.write_text(WRITES_DOWN)
    stand_in.chmod(0o755)
    path = os.pathsep.join([str(stand_in.parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "CALLS": str(folder / "calls")}
    names = [str(folder / name) for name in ("data", "lists", "run", "names.json")]  # not all want the last
    subprocess.run(["bash", str(recipe), *names], env=env, check=True, timeout=60)
    return [line.split("\x1f")[:-1] for line in (folder / "calls").read_text().splitlines()]


def parsed(words: list[str]) -> tuple[str, dict[str, object]]:
    """The command of a call, and its options as the command line takes them; nothing is run."""
    command, rest = typer.main.get_command(app), list(words)
    name = []
    while hasattr(command, "commands"):
        name.append(rest.pop(0))
        command = command.commands[name[-1]]
    return " ".join(name), command.make_context(name[-1], rest).params


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_commands_that_are_there(recipe, tmp_path):
    found = [parsed(words) for words in calls(recipe, tmp_path)]
    assert [name for name, _ in found] == ["data check", *["train", "eval"] * 2]
    for name, options in found:
        assert str(options["data"]) == str(tmp_path / "data")
        assert str(options["lists"]) == str(tmp_path / "lists")
        if name == "eval":
            assert options["episodes"] == 10_000
            assert str(options["json_file"]).startswith(str(tmp_path / "run"))
    for shot, (training, asked) in zip((1, 5), zip(found[1::2], found[2::2], strict=True), strict=True):
        assert training[1]["shot"] == asked[1]["shot"] == shot
        assert training[1]["way"] == asked[1]["way"] == 5
        assert str(training[1]["out"]) == str(asked[1]["run"])


def test_each_of_the_papers_data_sets_has_a_recipe():
    assert [path.stem for path in RECIPES] == ["hmdb51", "kinetics100", "ssv2-full", "ssv2-small", "ucf101"]
    for path in RECIPES:
        assert "NOT RUN HERE" in path.read_text(encoding="utf-8")
