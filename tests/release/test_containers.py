"""Images and the systemd unit: they copy what is there, name one version, and run commands that exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

import maclip
from maclip_cli.device.app import app

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "containers"
IMAGES = sorted(FOLDER.glob("Containerfile.*"))
UNIT = FOLDER / "systemd" / "maclip.service"
DEVICE = typer.main.get_command(app)


def instructions(image: Path) -> list[tuple[str, str]]:
    """Each instruction and its arguments, without comments."""
    text = re.sub(r"^\s*#.*\n", "", image.read_text(encoding="utf-8"), flags=re.M).replace("\\\n", " ")
    return [(name, rest) for name, _, rest in (line.strip().partition(" ") for line in text.splitlines()) if name]


def ignored() -> set[str]:
    """What the images' builds may see."""
    return {line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")}


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_an_image_copies_what_is_there_and_what_is_not_ignored(image: Path) -> None:
    for name, rest in instructions(image):
        if name == "COPY" and not rest.startswith("--from"):
            *sources, _ = rest.split()
            assert all((ROOT / source).exists() for source in sources), rest
            assert set(sources) <= ignored(), rest
    assert (ROOT / ".dockerignore").read_text() == (ROOT / ".containerignore").read_text()


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_an_image_has_the_version_a_fixed_base_and_no_root(image: Path) -> None:
    found = instructions(image)
    assert ("ARG", f"VERSION={maclip.__version__}") in found
    tag = f"-t maclip:{maclip.__version__}-{image.suffix[1:]} ."
    assert tag in image.read_text(encoding="utf-8")
    for name, rest in found:
        if name == "FROM":
            assert re.search(r":[\w.-]*\d", rest), rest
            assert "latest" not in rest
    users = [rest for name, rest in found if name == "USER"]
    assert users == ["10001"]
    assert ("ENTRYPOINT", '["maclip-run"]') in found
    assert "doctor" in getattr(DEVICE, "commands")  # noqa: B009


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_extras_of_an_image_exist(image: Path) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", image.read_text(encoding="utf-8"))
    for extra in extras.split(","):
        assert re.search(rf"^{extra} = \[", project, re.M), extra
    # The others have a CUDA build of the same module.
    assert ("cpu" in extras.split(",")) == image.name.endswith(".cpu")


def test_hadolint_finds_nothing() -> None:
    tool = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if tool is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([tool, "--no-color", *map(str, IMAGES)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def settings(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if "=" in line and line[0] != "#"]
    return dict(line.split("=", 1) for line in lines)


def test_the_unit_runs_a_command_that_exists() -> None:
    unit, env = settings(UNIT), settings(FOLDER / "systemd" / "maclip.env")
    words = [word for part in unit["ExecStart"].split() for word in shlex.split(env.get(part[1:], part))]
    assert words[0].endswith("/maclip-run")
    command = getattr(DEVICE, "commands")[words[1]]  # noqa: B009
    parsed = command.make_context("recognize", [*words[2:], "--bundle", env["MACLIP_BUNDLE"], "--gallery", "a.db"])
    assert parsed.params["wait"] is True
    assert unit["Restart"] == "on-failure"
    assert {"MemoryMax", "TasksMax", "TimeoutStopSec"} <= unit.keys()


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed")
    text = UNIT.read_text(encoding="utf-8").replace("/opt/maclip/bin/maclip-run", shutil.which("true") or "/bin/true")
    (tmp_path / UNIT.name).write_text(text)
    done = subprocess.run([tool, "verify", tmp_path / UNIT.name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
