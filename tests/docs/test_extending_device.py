"""The code of docs/extending.md about sources and sinks runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


def programs(section: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def run(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_sources_of_the_documentation_run() -> None:
    waits, goes_on = programs("A source")
    assert run(waits) == ["20 frames"]
    lines = run(goes_on)  # which frames are overtaken depends on how busy the machine is
    assert len(lines) == 8
    assert lines[0].startswith("0 False ")
    assert any(" True " in line for line in lines)  # it was lost and came back


def test_the_sink_of_the_documentation_runs() -> None:
    (says,) = programs("A sink")
    assert run(says) == ["robot: start waving", "1 delivered, 0 dropped"]


@pytest.mark.parametrize("section", ["A source", "A sink"])
def test_the_paths_of_the_documentation_exist(section: str) -> None:
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    found = re.findall(r"`((?:samples|runtime)/[\w/.]+)`", text)
    assert found
    assert all((PAGE.parents[1] / path).exists() for path in found)
