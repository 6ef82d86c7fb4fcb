"""Run `maclip demo`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from maclip_cli.demo.device_part import DeviceOutcome, use_bundle
from maclip_cli.demo.folder import DemoFolder
from maclip_cli.demo.plan import DEMO, Plan
from maclip_cli.demo.rows import FamilyOutcome
from maclip_cli.demo.screen import Screen
from maclip_cli.demo.study import run_families
from maclip_cli.demo.words import contributions, name_weights, recognition, table, training_times


def run_demo(out: Path, plan: Plan = DEMO, console: Console | None = None) -> DemoFolder:
    """Run the demo: progress on stderr, results on stdout, report in `out`.

    out: a new folder, or that of an earlier demo.
    plan: what to run.
    console: for progress; default: stderr.
    Raises `output-exists`, `output-unwritable` and what the parts raise.
    """
    folder = DemoFolder(out)
    folder.begin()
    with Screen(console) as screen:
        with screen.step("Generating clips"):
            _generate(plan, folder, screen)
        with screen.step("Training three models per family and testing them on unseen classes"):
            outcomes = run_families(plan, folder, screen)
        with screen.step("Exporting the full model to ONNX"):
            _export(folder, screen)
        with screen.step("Enrolling and recognising classes as on a device"), screen.bar("device") as update:
            device = use_bundle(plan, folder, update)
        with screen.step("Writing the report"):
            _write_report(plan, folder, outcomes, device, screen)
    _print(outcomes, device, plan, folder)
    return folder


def results(outcomes: Mapping[str, FamilyOutcome]) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """The content of `results.json`: by family, shot and row."""
    return {
        name: {
            f"{shot}-shot": {
                row: {
                    "accuracy": one.results[shot].accuracy,
                    "interval": one.results[shot].interval,
                    "episodes": one.results[shot].episodes,
                    "fusion_weight": one.results[shot].fusion_weight,
                    "by_fusion_weight": one.results[shot].by_fusion_weight,
                    "training_s": round(one.training_s, 1),
                }
                for row, one in outcome.rows.items()
            }
            for shot in next(iter(outcome.rows.values())).results
        }
        for name, outcome in outcomes.items()
    }


def _generate(plan: Plan, folder: DemoFolder, screen: Screen) -> None:
    from maclip.world.synth import write_clips

    with screen.bar("clips") as update:
        for one in plan.families:
            write_clips(
                folder.clips / one.family,
                one.family,
                plan.clips,
                seed=plan.clips_seed,
                workers=os.cpu_count() or 1,
                progress=lambda done, total, family=one.family: update(family, done, total),  # type: ignore[misc]
            )


def _export(folder: DemoFolder, screen: Screen) -> None:
    from maclip_export import export

    for graph in export(folder.run, folder.bundle).graphs:
        screen.say(f"   {graph.graph}: {graph.size / 2**20:.1f} MiB, difference to torch {graph.gate.relative:.0e}")


def _write_report(
    plan: Plan, folder: DemoFolder, outcomes: Mapping[str, FamilyOutcome], device: DeviceOutcome, screen: Screen
) -> None:
    from maclip.writing import replacing
    from maclip_cli.demo.report import Findings, render

    findings = Findings(plan, folder, outcomes, device, tuple(screen.steps))
    with replacing(folder.results) as path:
        path.write_text(json.dumps(results(outcomes), indent=2) + "\n", encoding="utf-8")
    with replacing(folder.report) as path:
        path.write_text(render(findings), encoding="utf-8")


def _print(outcomes: Mapping[str, FamilyOutcome], device: DeviceOutcome, plan: Plan, folder: DemoFolder) -> None:
    console = Console(highlight=False)
    console.print(table(outcomes, plan.way))
    for heading, sentences in (
        ("Contribution of each part", contributions(outcomes)),
        ("Contribution of class names", name_weights(outcomes)),
        ("Training time", training_times(outcomes)),
        ("The exported bundle", recognition(device)),
    ):
        console.print(f"\n[bold]{heading}[/bold]")
        for sentence in sentences:
            console.print(f"  {sentence}", soft_wrap=True)
    console.print("\nThe clips are generated and the CLIP model is small: these are not results on real video.")
    console.print(f"Report: {folder.report}", soft_wrap=True, markup=False)
