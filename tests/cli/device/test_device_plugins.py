"""`maclip-run` with a source and a sink that another installed package provides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[3] / "samples"


def install(site: Path, **groups: str) -> dict[str, str]:
    """A package's metadata as pip leaves it, naming the samples as its modules; the environment that sees it."""
    info = site / "robot_parts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: robot-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("".join(f"[maclip.{group}]\n{line}\n" for group, line in groups.items()))
    path = os.pathsep.join([str(site), str(SAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


@pytest.fixture
def command(bundle: Path, enrolled: Path) -> list[str]:
    options = ["--bundle", str(bundle), "--gallery", str(enrolled), "--device", "cpu"]
    return [sys.executable, "-m", "maclip_cli.device", "recognize", *options]


def run(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)


def test_an_installed_source_and_sink_are_found_by_their_scheme(command: list[str], tmp_path: Path) -> None:
    env = install(tmp_path, sources="Colors = own_source", sinks="csv = own_sink")
    rows = tmp_path / "events.csv"
    done = run([*command, "Colors://red,green", "--to", f"CSV://{rows}"], env)
    assert done.returncode == 0, done.stderr
    kept = [line.split(",")[1:] for line in rows.read_text().splitlines()]
    assert [row for row in kept if row[0] != "update"] == [
        ["start", "red light"],
        ["end", "red light"],
        ["start", "green light"],
        ["end", "green light"],
    ]


@pytest.mark.parametrize(
    ("sources", "address", "said"),
    [
        ("colors = no_such_module", "colors://red", "error[source-missing]: colors:// is provided by no_such_module"),
        ("paint = own_source", "paint://red", "does not register a source for it"),
        ("colors = own_source", "colours://red", "colors://"),  # among the known forms
    ],
)
def test_a_package_that_is_broken_or_absent_is_named(
    command: list[str], tmp_path: Path, sources: str, address: str, said: str
) -> None:
    done = run([*command, address], install(tmp_path, sources=sources))
    assert done.returncode in {2, 3}
    assert said in done.stderr
    assert "Traceback" not in done.stderr
