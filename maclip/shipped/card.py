"""The model card of the shipped runs, written from the runs and their measured figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from maclip.evaluation.streams.record import StreamRecord
from maclip.runs import Run
from maclip.shipped import ADAPTERS_ONLY, CARD_FILE, FULL, LADDER, PROTOTYPE_ONLY
from maclip.shipped.measure import STREAM_SPLITS, WATCHED, Figures
from maclip.shipped.settings import Recipe
from maclip.writing import replacing
from maclip_runtime.tools.measuring.machine import machine_facts

TITLES = {
    PROTOTYPE_ONLY: "TPCM only",
    ADAPTERS_ONLY: "adapters only",
    FULL: "full: TPCM and adapters",
    LADDER: "ladder: TPCM and a side network",
}
COMMAND = "python -m maclip.shipped.train OUT"
STREAM_FIGURES = ("f1", "precision", "recall", "false_alarms_an_hour", "latency_s", "auroc", "strangers_passing")

_CARD = """# The shipped runs

Trained on drawn motions around the [tiny CLIP](../tiny/model_card.md), for the demo and for trying maclip. They know
moving shapes and nothing else: for real video, train on real video with a real CLIP.

Made again by `{command}`, which draws the data, trains the runs in turn and writes this folder. All settings are in
`settings.py`. {machine} The weights are in half precision, {size:,} bytes in all.

## Data
{classes} motions for training with {clips} clips each, and {streams} untrimmed videos of them, {actions} actions each.
{val} other motions for validation, {test} others for test. Nothing was trained or chosen on test motions: the kept
state, whether clips are given their names, the weight of the names, the cohort of training motions that queries are
compared with, the distance of "none of these" and the exported run were chosen on validation motions.

## Runs
| run | begins with | episodes | seed | hours | parameters | validation, 5-way 1-shot | names |
| --- | --- | --- | --- | --- | --- | --- | --- |
{runs}

## Unseen test motions
{way}-way, {episodes:,} episodes, with 95 % intervals.

| run | 1-shot | 5-shot |
| --- | --- | --- |
{tests}

{gains}

## Streams of unseen motions
{galleries} galleries of 5 motions with {gallery_shots} clips each, with the device's own windows, limits and decisions;
{hours:.2f} hours of video for a gallery. *Strangers passing*: the share of clips of other motions that pass where 95 %
of those of the enrolled ones do; *AUROC* tells them apart likewise.

| run | motions | F1 | precision | recall | false alarms an hour | s until reported | AUROC | strangers passing |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{watched}

{why}

## Limits
The figures hold for drawn shapes with the tiny CLIP. They say nothing about real video. Actions that overlap in time
were not measured.
"""


def write_card(
    folder: Path, runs: Mapping[str, Run], figures: Figures, recipe: Recipe, hours: Mapping[str, float]
) -> dict[str, Any]:
    """Write `model_card.json` and `model_card.md` into `folder`; return the content of the first.

    runs: the packed runs by name.
    hours: of training, by run.
    """
    facts = machine_facts()
    card: dict[str, Any] = {
        "command": COMMAND,
        "exported": figures.exported,
        "why": _why(figures),
        "runs": {name: _run(run, figures, hours[name]) for name, run in runs.items()},
        "gains": [vars(gain) for gain in figures.gains],
        "data": {
            "classes": {split: len(getattr(runs[FULL].config.names, split)) for split in ("train", "val", "test")},
            "clips": dict(recipe.clips),
            "clips_seed": recipe.clips_seed,
            "streams": recipe.streams,
            "actions": recipe.actions,
            "streams_seed": recipe.streams_seed,
            "held_out": recipe.held_out,
            "held_out_seed": recipe.held_out_seed,
        },
        "machine": {key: facts[key] for key in ("processor", "cores", "system", "python")},
        "torch": facts["libraries"].get("torch", ""),
    }
    with replacing(folder / CARD_FILE) as path:
        path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    with replacing(folder / "model_card.md") as path:
        path.write_text(_markdown(card, runs, figures, recipe), encoding="utf-8")
    return card


def _run(run: Run, figures: Figures, hours: float) -> dict[str, Any]:
    name, config = run.path.name, run.config
    with safe_open(str(run.adapters), framework="np") as file:
        parameters = sum(int(file.get_tensor(key).size) for key in file.keys())  # noqa: SIM118
    chosen = config.chosen
    return {
        "adapters_sha256": run.adapters_sha256,
        "bytes": sum(file.stat().st_size for file in run.path.glob("*.safetensors")),
        "parameters": parameters,
        "begins_with": config.init.run if config.init else None,
        "adapted_depth": config.model.adapters.depth if config.model.adapters.kind == "blocks" else None,
        "episodes": config.train.prototype_episodes + config.train.episodes,
        "seed": config.train.seed,
        "hours": round(hours, 2),
        "validation": chosen.accuracy if chosen else None,
        "names": chosen.names if chosen else None,
        "fusion_weight": chosen.fusion_weight if chosen else None,
        "test": {
            f"{shot}-shot": {"accuracy": result.accuracy, "interval": result.interval, "episodes": result.episodes}
            for shot, result in figures.test[name].items()
        },
        "streams": {
            split: {one: record.figures[one].mean for one in STREAM_FIGURES}
            for split, record in figures.streams.get(name, {}).items()
        },
    }


def _why(figures: Figures) -> str:
    """One sentence: which run the demo exports, and why."""
    said = {LADDER: "the ladder", FULL: "the full run", PROTOTYPE_ONLY: "TPCM alone"}
    others = [name for name in WATCHED if name != figures.exported]
    rest = ", ".join(f"that of {said[name]} {figures.validation_f1(name):.2f}" for name in others)
    found = figures.validation_f1(figures.exported)
    return f"The demo exports {said[figures.exported]}: its F1 on validation streams is {found:.2f}, {rest}."


def _markdown(card: Mapping[str, Any], runs: Mapping[str, Run], figures: Figures, recipe: Recipe) -> str:
    data, machine = card["data"], card["machine"]
    first = next(iter(next(iter(figures.test.values())).values()))
    watched = next(iter(figures.streams.values()))["test"]
    return _CARD.format(
        command=card["command"],
        machine=f"Trained on {machine['cores']} cores of {machine['processor']}, without a GPU, torch {card['torch']}.",
        size=sum(one["bytes"] for one in card["runs"].values()),
        classes=data["classes"]["train"],
        val=data["classes"]["val"],
        test=data["classes"]["test"],
        clips=recipe.clips["train"],
        streams=recipe.streams,
        actions=recipe.actions,
        runs="\n".join(_run_row(name, card["runs"][name]) for name in runs),
        way=first.way,
        episodes=first.episodes,
        tests="\n".join(_test_row(name, figures) for name in runs),
        gains="\n".join(
            f"- {gain.of.capitalize()} over {TITLES[gain.over]}, {gain.shot}-shot: {gain.accuracy * 100:+.1f} points ± "
            f"{gain.interval * 100:.1f}, on the same episodes."
            for gain in figures.gains
        ),
        galleries=len(watched.galleries),
        gallery_shots=watched.shot,
        hours=sum(one.hours for one in watched.galleries) / len(watched.galleries),
        watched="\n".join(
            _stream_row(name, split, records[split])
            for name, records in sorted(figures.streams.items(), key=lambda one: list(runs).index(one[0]))
            for split in STREAM_SPLITS
        ),
        why=card["why"],
    )


def _run_row(name: str, one: Mapping[str, Any]) -> str:
    begins = TITLES.get(one["begins_with"], one["begins_with"] or "nothing")
    depth = f", last {one['adapted_depth']} blocks" if (one["adapted_depth"] or 0) > 1 else ""
    depth = ", last block" if one["adapted_depth"] == 1 else depth
    validation = "" if one["validation"] is None else f"{one['validation']:.1%}"
    return (
        f"| {TITLES[name]}{depth} | {begins} | {one['episodes']:,} | {one['seed']} | {one['hours']:.1f} | "
        f"{one['parameters']:,} | {validation} | {'used' if one['names'] else 'not used'} |"
    )


def _test_row(name: str, figures: Figures) -> str:
    cells = " | ".join(f"{one.accuracy:.1%} ± {one.interval * 100:.1f}" for one in figures.test[name].values())
    return f"| {TITLES[name]} | {cells} |"


def _stream_row(name: str, split: str, record: StreamRecord) -> str:
    found = [record.figures[key].mean for key in STREAM_FIGURES]
    formats = ("{:.2f}", "{:.0%}", "{:.0%}", "{:.0f}", "{:.1f}", "{:.2f}", "{:.0%}")
    cells = " | ".join("" if value is None else form.format(value) for form, value in zip(formats, found, strict=True))
    return f"| {TITLES[name]} | {'validation' if split == 'val' else 'test'} | {cells} |"
