"""What the commands of this folder share: options, circumstances, and how they end."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.errors import MaclipError
from maclip_runtime.tools.measuring.machine import ROOT
from maclip_runtime.tools.measuring.output import require_outputs

DEMO_BUNDLE = ROOT / "demo" / "bundle"


def parser(description: str | None, *, figure: str | None = None) -> argparse.ArgumentParser:
    """A parser with --json and --smallest, and --figure where `figure` says what is drawn."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, metavar="FILE", help="write all figures into this file")
    made.add_argument(
        "--smallest", action="store_true", help="the smallest sizes: to see in seconds that it runs, not to measure"
    )
    made.set_defaults(figure=None)
    if figure is not None:
        made.add_argument("--figure", type=Path, metavar="FILE", help=f"draw {figure} into this file")
    return made


def add_bundle(made: argparse.ArgumentParser) -> None:
    """Add --bundle."""
    made.add_argument("--bundle", type=Path, default=DEMO_BUNDLE, help="default: demo/bundle, as `make demo` leaves it")


def parse(made: argparse.ArgumentParser) -> argparse.Namespace:
    """The options. Raises `output-unwritable` and `option-invalid` where results could not be written."""
    chosen = made.parse_args()
    require_outputs(chosen.json, chosen.figure)
    return chosen


def run(main: Callable[[], int | None]) -> None:
    """Run a command and leave the process with its exit code; a `MaclipError` is two lines on stderr."""
    try:
        sys.exit(main() or 0)
    except MaclipError as error:
        print(f"error[{error.code}]: {error.message}\nfix: {error.fix}", file=sys.stderr)
        sys.exit(error.exit_code)


def bundle_facts(path: Path) -> dict[str, Any]:
    """Which bundle was measured: its contract and what bears on its answers. Raises what opening it raises."""
    manifest = Bundle.open(path).manifest
    return {
        "contract": manifest.contract,
        "metric": manifest.metric,
        "fusion_weight": manifest.fusion_weight,
        "limit": dataclasses.asdict(manifest.limit) if manifest.limit is not None else None,
    }
