"""The code of docs/extending.md runs as it stands: the page is what a newcomer copies."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maclip.adapters import ADAPTERS
from maclip.metrics import METRICS
from maclip.prototypes import PROTOTYPES
from maclip.world.synth import write_clips

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
REGISTRIES: tuple[dict, ...] = (METRICS, PROTOTYPES, ADAPTERS)
FILE_NAME = re.compile(r"# (\w+\.py)\n")


def sections() -> dict[str, list[str]]:
    """The python blocks of each section, in order."""
    _, *parts = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {part.split("\n", 1)[0]: re.findall(r"^```python\n(.*?)^```", part, re.M | re.S) for part in parts}


# Sources and sinks are tested beside this file: they run without torch.
PARTS = [section for section in sections() if section not in ("A source", "A sink")]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, from which files can be imported; what they register is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    known = [dict(registry) for registry in REGISTRIES]
    yield tmp_path
    for registry, entries in zip(REGISTRIES, known, strict=True):
        registry.clear()
        registry.update(entries)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def write_files(section: str, place: Path) -> list[str]:
    """Write the blocks that begin with a file's name; the others are returned."""
    rest = []
    for block in sections()[section]:
        named = FILE_NAME.match(block)
        if named:
            (place / named[1]).write_text(block, encoding="utf-8")
        else:
            rest.append(block)
    return rest


@pytest.mark.parametrize("section", PARTS)
def test_every_block_runs(section: str, place: Path) -> None:
    for number, block in enumerate(write_files(section, place), 1):
        exec(compile(block, f"{PAGE.name}, {section}, block {number}", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("section", PARTS)
def test_every_file_is_used_by_another_block(section: str, place: Path) -> None:
    rest = "\n".join(write_files(section, place))
    for file in place.glob("*.py"):
        assert f"import {file.stem}" in rest


@pytest.mark.parametrize(
    ("section", "file", "options"),
    [
        ("A metric", "diagonal", "--metric diagonal --adapters none"),
        ("A prototype module", "convolution", "--prototype convolution --adapters none"),
        ("An adapter", "neighbours", "--adapters neighbours --adapted-depth 1"),
    ],
)
def test_a_file_is_a_command_that_trains_with_its_part(
    section: str, file: str, options: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(section, place)
    write_clips(place / "clips", "motion", 2, splits=("val",))
    (place / "clips" / "classes.json").unlink()  # without splits, all classes are for training
    command = f"train clips --out run --backbone tiny {options} --frames 4 --way 2 --episodes 2 --accumulate 1"
    monkeypatch.setattr(sys, "argv", [file, *command.split(), "--device", "cpu"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(f"{file}.py", run_name="__main__")
    assert end.value.code == 0
    assert f'"kind": "{file}"' in (place / "run" / "config.json").read_text(encoding="utf-8")
    assert (place / "run" / "adapters.safetensors").is_file()
