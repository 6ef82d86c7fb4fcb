"""The results as sentences and as a table."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from maclip_cli.demo.device_part import DeviceOutcome
from maclip_cli.demo.plan import FROZEN, FULL, PROTOTYPE_ONLY, ROWS
from maclip_cli.demo.rows import Difference, FamilyOutcome
from maclip_runtime.decisions import UNKNOWN

ROW_TITLES = {
    FROZEN: "frozen CLIP",
    PROTOTYPE_ONLY: "TPCM only",
    FULL: "full: TPCM and adapters",
}


def table(outcomes: Mapping[str, FamilyOutcome], way: int) -> Table:
    """A table of accuracies with intervals: rows by families and shots."""
    columns = [(name, shot) for name, outcome in outcomes.items() for shot in outcome.rows[FULL].results]
    made = Table(title=f"Accuracy on unseen classes, {way}-way (chance {1 / way:.0%})", title_justify="left")
    made.add_column("")
    for name, shot in columns:
        made.add_column(f"{name}\n{shot}-shot", justify="right")
    for row in ROWS:
        results = [outcomes[name].rows[row].results[shot] for name, shot in columns]
        made.add_row(ROW_TITLES[row], *(f"{r.accuracy:.1%} ± {r.interval * 100:.1f}" for r in results))
    return made


def contributions(outcomes: Mapping[str, FamilyOutcome]) -> list[str]:
    """A sentence for each family and shot: the gain of TPCM over frozen CLIP, and of the full model over TPCM."""
    return [
        f"{name.capitalize()}, {shot}-shot: "
        f"TPCM over frozen CLIP {gain(outcome.difference(PROTOTYPE_ONLY, FROZEN, shot))}; "
        f"full model over TPCM {gain(outcome.difference(FULL, PROTOTYPE_ONLY, shot))}."
        for name, outcome in outcomes.items()
        for shot in outcome.rows[FULL].results
    ]


def gain(difference: Difference) -> str:
    """A difference in accuracy in words: "+45.1 points ± 1.2", and whether it is not significant."""
    points = round(difference.accuracy * 100, 1) + 0.0  # + 0.0: no "-0.0"
    words = f"{points:+.1f} points ± {difference.interval * 100:.1f}"
    return words if difference.significant else f"{words} (not significant)"


def name_weights(outcomes: Mapping[str, FamilyOutcome]) -> list[str]:
    """Accuracy of the full model with frames only (a = 0), with the chosen a, and with names only (a = 1)."""
    sentences = []
    for name, outcome in outcomes.items():
        for shot, result in outcome.rows[FULL].results.items():
            frames, names = result.by_fusion_weight["0"], result.by_fusion_weight["1"]
            sentences.append(
                f"{name.capitalize()}, {shot}-shot: frames only (a = 0) {frames:.1%}, "
                f"with the chosen a = {result.fusion_weight:g} {result.accuracy:.1%}, names only (a = 1) {names:.1%}."
            )
    return sentences


def training_times(outcomes: Mapping[str, FamilyOutcome]) -> list[str]:
    """Training times of the trained rows."""
    return [
        f"{name.capitalize()}: "
        + ", ".join(f"{ROW_TITLES[r.name]} {r.training_s:.0f} s" for r in outcome.rows.values() if r.training_s)
        + ". The first also read the clips and computed the stem cache, which the second reused."
        for name, outcome in outcomes.items()
    ]


def recognition(device: DeviceOutcome) -> list[str]:
    """Results of the exported bundle: clips, then the long video."""
    known = [answer for answer in device.answers if answer.truth is not None]
    others = [answer for answer in device.answers if answer.truth is None]
    sentences = []
    if known:
        right = sum(answer.right for answer in known)
        refused = sum(answer.label == UNKNOWN for answer in known)
        sentences.append(
            f"Clips of the {len(device.enrolled)} enrolled classes: {right} of {len(known)} correct, "
            f'{len(known) - right - refused} recognised as another class, {refused} as "unknown".'
        )
    if others:
        refused = sum(answer.right for answer in others)
        sentences.append(f'Clips of classes not enrolled: {refused} of {len(others)} recognised as "unknown".')
    timeline = device.timeline
    alarms = len(timeline.false_alarms())
    sentences.append(
        f"Long video: {timeline.right()} of {len(timeline.segments)} actions recognised correctly, "
        f"{alarms} false alarm{'' if alarms == 1 else 's'}; {timeline.duration_s:.0f} s of video "
        f"processed in {timeline.watching_s:.1f} s."
    )
    return sentences
