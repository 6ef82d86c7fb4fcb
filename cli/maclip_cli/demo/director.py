"""Run `maclip demo`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from maclip.shipped import read_card, shipped_run
from maclip_cli.demo.device_part import DeviceOutcome, use_bundle
from maclip_cli.demo.folder import DemoFolder
from maclip_cli.demo.plan import DEMO, FAMILY, Plan
from maclip_cli.demo.rows import RowOutcome, differences
from maclip_cli.demo.screen import Screen
from maclip_cli.demo.study import run_study
from maclip_cli.demo.words import DRAWN, accuracy_table, gain_table, recognition, training_times


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
        with screen.step("Drawing clips"):
            _draw(plan, folder, screen)
        with screen.step("Training three small models, and testing them and the shipped ones on unseen motions"):
            rows = run_study(plan, folder, screen)
        with screen.step("Exporting the shipped run to ONNX"):
            _export(folder, screen)
        with screen.step("Enrolling unseen actions, recognising clips, watching a long video"), screen.bar() as update:
            device = use_bundle(plan, folder, update)
        with screen.step("Writing the video with the answers, and the report"):
            _write(plan, folder, rows, device, screen)
    _print(rows, device, plan, folder)
    return folder


def results(rows: Mapping[str, RowOutcome], device: DeviceOutcome) -> dict[str, Any]:
    """The content of `results.json`: accuracy by row and shot, paired differences, and the device's answers."""
    timeline = device.timeline
    return {
        "accuracy": {
            name: {
                f"{shot}-shot": {
                    "accuracy": one.accuracy,
                    "interval": one.interval,
                    "episodes": one.episodes,
                    "fusion_weight": one.fusion_weight,
                    "by_fusion_weight": one.by_fusion_weight,
                }
                for shot, one in row.results.items()
            }
            | {"validation": row.validation, "training_s": round(row.training_s, 1)}
            for name, row in rows.items()
        },
        "differences": [asdict(one) for one in differences(rows)],
        "device": {
            "exported": read_card()["exported"],
            "video": {
                "actions": len(timeline.segments),
                "right": timeline.right(),
                "false_alarms": len(timeline.false_alarms()),
                "duration_s": timeline.duration_s,
                "watching_s": timeline.watching_s,
                "segments": [
                    asdict(one) | {"enrolled": one.name in timeline.enrolled, "answer": timeline.answer_for(one)}
                    for one in timeline.segments
                ],
            },
            "clips": [asdict(one) for one in device.answers],
            "latency": [asdict(one) for one in device.latencies],
        },
    }


def _draw(plan: Plan, folder: DemoFolder, screen: Screen) -> None:
    from maclip.world.synth import write_clips

    with screen.bar() as update:
        write_clips(
            folder.motion_clips,
            FAMILY,
            plan.clips,
            seed=plan.clips_seed,
            workers=os.cpu_count() or 1,
            progress=lambda done, total: update("clips", done, total),
            composed=False,
        )


def _export(folder: DemoFolder, screen: Screen) -> None:
    from maclip_export import export

    card = read_card()
    shutil.copytree(shipped_run(card["exported"]), folder.run)
    screen.say(f"   {card['why']}")
    for graph in export(folder.run, folder.bundle).graphs:
        screen.say(f"   {graph.graph}: {graph.size / 2**20:.1f} MiB, difference to torch {graph.gate.relative:.0e}")


def _write(
    plan: Plan, folder: DemoFolder, rows: Mapping[str, RowOutcome], device: DeviceOutcome, screen: Screen
) -> None:
    from maclip.writing import replacing
    from maclip_cli.demo.report import Findings, render
    from maclip_cli.demo.watched import write_watched

    write_watched(folder.video, device.timeline, folder.watched, folder.animation)
    with replacing(folder.results) as path:
        path.write_text(json.dumps(results(rows, device), indent=2) + "\n", encoding="utf-8")
    findings = Findings(plan, folder, rows, differences(rows), device, tuple(screen.steps), read_card())
    with replacing(folder.report) as path:
        path.write_text(render(findings), encoding="utf-8")


def _print(rows: Mapping[str, RowOutcome], device: DeviceOutcome, plan: Plan, folder: DemoFolder) -> None:
    console, card = Console(highlight=False), read_card()
    console.print("\n[bold]The exported bundle on unseen actions[/bold]")
    for sentence in recognition(device):
        console.print(f"  {sentence}", soft_wrap=True)
    console.print()
    console.print(accuracy_table(rows, plan.way))
    console.print(gain_table(differences(rows), plan.shots))
    console.print("± is half of a 95 % interval; (?): the interval includes zero.")
    for sentence in (*training_times(rows, card), card["why"], DRAWN):
        console.print(sentence, soft_wrap=True)
    for what, path in (("Report", folder.report), ("Video", folder.watched)):
        console.print(f"{what}: {path}", soft_wrap=True, markup=False)
