"""Print the lowest version of each direct dependency in pyproject.toml, as constraints for pip.

    python tests/lowest_versions.py EXTRA... [--newest NAME...]

EXTRA: extras beside the dependencies that every device needs. NAME: packages that keep the newest version.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
# A name, extras, the floor, any further bounds, and for some systems only.
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?(?:>=([0-9][0-9a-z.]*))?[^;]*(;.*)?")


def lowest(requirements: list[str]) -> dict[str, str]:
    """The constraint of each requirement that states a floor, by name: `{"numpy": "numpy==1.26"}`."""
    found = {}
    for requirement in requirements:
        match = REQUIREMENT.fullmatch(requirement)
        assert match, requirement
        name, floor, marker = match.groups()
        if floor:
            found[name] = f"{name}=={floor}{marker or ''}"
    return found


def requirements_of(extras: list[str]) -> list[str]:
    """The dependencies of the package and of `extras`, as pyproject.toml states them."""
    import tomllib

    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]


def main() -> None:
    """Print the constraints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extras", nargs="*", metavar="EXTRA")
    parser.add_argument("--newest", nargs="*", default=[], metavar="NAME")
    given = parser.parse_args()
    for name, line in lowest(requirements_of(given.extras)).items():
        if name not in given.newest:
            print(line)


if __name__ == "__main__":
    main()
