"""The wheel and the source distribution: the same commit gives the same bytes, and they hold what they should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path

import pytest

import maclip

pytest.importorskip("hatchling")

ROOT = Path(__file__).parents[2]
PACKAGES = {"maclip": "maclip", "runtime/maclip_runtime": "maclip_runtime",
            "export/maclip_export": "maclip_export", "cli/maclip_cli": "maclip_cli"}  # fmt: skip
MAX_WHEEL_BYTES = 12_000_000
EPOCH = 1_764_374_400
SUFFIXES = {".py", ".typed", ".md", ".json", ".txt", ".gz", ".safetensors", ".html", ".js", ".css", ".svg", ".j2"}


def build(source: Path, out: Path, *targets: str) -> dict[str, Path]:
    """Build with hatchling; gives the wheel and the source distribution by target."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    for target in targets:
        command += ["-t", target]
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
    subprocess.run(command, cwd=source, env=env, check=True, capture_output=True, timeout=120)
    found = {"wheel": next(out.glob("*.whl"), None), "sdist": next(out.glob("*.tar.gz"), None)}
    return {target: path for target, path in found.items() if path is not None}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build(ROOT, tmp_path_factory.mktemp("dist"), "wheel", "sdist")


@pytest.fixture(scope="module")
def unpacked(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as it is installed."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(built["wheel"]) as wheel:
        wheel.extractall(folder)
    return folder


def kept_files() -> Iterator[str]:
    """Where the files of the packages lie in the wheel, by git: what it tracks, and what is new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *PACKAGES]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout")
    for line in filter(lambda line: (ROOT / line).is_file(), listed.stdout.splitlines()):
        folder = next(folder for folder in PACKAGES if line.startswith(f"{folder}/"))
        yield PACKAGES[folder] + line[len(folder) :]


def test_a_wheel_from_the_source_distribution_is_the_same_to_the_byte(built: dict[str, Path], tmp_path: Path) -> None:
    """Also in another folder, with other times and permissions of files."""
    with tarfile.open(built["sdist"]) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    for number, path in enumerate(sorted(source.rglob("*"))):
        os.utime(path, (1_600_000_000 + number, 1_600_000_000 + number))
        path.chmod(0o755 if path.is_dir() else 0o600)
    again = build(source, tmp_path / "again", "wheel")["wheel"]
    assert again.name == built["wheel"].name
    assert again.read_bytes() == built["wheel"].read_bytes()


def test_the_source_distribution_is_the_same_when_it_is_built_again(built: dict[str, Path], tmp_path: Path) -> None:
    assert build(ROOT, tmp_path, "sdist")["sdist"].read_bytes() == built["sdist"].read_bytes()


def test_the_wheel_holds_the_packages_and_nothing_else(built: dict[str, Path]) -> None:
    assert built["wheel"].stat().st_size < MAX_WHEEL_BYTES
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = set(wheel.namelist())
    about = {name for name in names if name.startswith(f"maclip-{maclip.__version__}.dist-info/")}
    assert names - about == set(kept_files())
    assert {Path(name).suffix for name in names - about} <= SUFFIXES


def test_licences_of_what_is_shipped_come_along(unpacked: Path) -> None:
    (about,) = unpacked.glob("*.dist-info")
    metadata = message_from_string((about / "METADATA").read_text(encoding="utf-8"))
    assert metadata["License-Expression"] == "MIT"
    assert set(metadata.get_all("License-File")) == {
        "LICENSE", "NOTICE.md", *(f"LICENSES/{file.name}" for file in (ROOT / "LICENSES").iterdir()),
    }  # fmt: skip
    notice = (about / "licenses" / "NOTICE.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:maclip|export)/[\w./]+)`", notice):
        assert (ROOT / path).exists(), path
    for licence in re.findall(r"\((LICENSES?[\w./-]*)\)", notice):
        assert (about / "licenses" / licence).is_file(), licence
    lists = {file.name for file in (ROOT / "export" / "maclip_export" / "name_lists").glob("*.txt")}
    assert lists <= set(re.findall(r"[\w.]+", notice))


def test_the_unpacked_wheel_runs(unpacked: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-m", "maclip_cli.device", "--version"]
    said = subprocess.run(command, env=env, cwd=unpacked, capture_output=True, text=True, check=True, timeout=60)
    assert maclip.__version__ in said.stdout


def test_every_place_states_the_same_version() -> None:
    def found(file: str, pattern: str) -> str:
        match = re.search(pattern, (ROOT / file).read_text(encoding="utf-8"), re.M)
        assert match, file
        return match[1]

    stated = {
        "pyproject.toml": found("pyproject.toml", r'^version = "(.+)"$'),
        "changelog": found("CHANGELOG.md", r"^## (\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)$"),
        **{
            str(file.relative_to(ROOT)): found(str(file.relative_to(ROOT)), r"<version>(.+)</version>")
            for file in (ROOT / "samples" / "ros2").glob("*/package.xml")
        },
        **{
            f"containers/{file.name}": found(f"containers/{file.name}", r"^ARG VERSION=(.+)$")
            for file in (ROOT / "containers").glob("Containerfile.*")
        },
        "setup.py": found("samples/ros2/maclip_ros/setup.py", r'version="(.+)"'),
        "contributing": found("CONTRIBUTING.md", r"Tag `v(.+?)`"),
    }
    assert set(stated.values()) == {maclip.__version__}, stated


def test_pages_for_contributors_name_what_is_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "NOTICE.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert {target for target in re.findall(r"make ([\w-]+)", text)} <= targets
        for link in re.findall(r"\]\((?!http)([^)#]+)", text):
            assert (ROOT / link).exists(), f"{page}: {link}"
        for path in re.findall(r"`((?:samples|maclip|runtime|export|cli|tests|containers)/[\w/.-]+)`", text):
            assert (ROOT / path).exists(), f"{page}: {path}"
