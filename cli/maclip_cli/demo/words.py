"""What the figures mean, said plainly, flattering or not; and the table at the end."""

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
    """Rows against families and shots, with intervals."""
    columns = [(name, shot) for name, outcome in outcomes.items() for shot in outcome.rows[FULL].results]
    made = Table(title=f"Accuracy on classes never seen, {way}-way (chance {1 / way:.0%})", title_justify="left")
    made.add_column("")
    for name, shot in columns:
        made.add_column(f"{name}\n{shot}-shot", justify="right")
    for row in ROWS:
        results = [outcomes[name].rows[row].results[shot] for name, shot in columns]
        made.add_row(ROW_TITLES[row], *(f"{r.accuracy:.1%} ± {r.interval * 100:.1f}" for r in results))
    return made


def contributions(outcomes: Mapping[str, FamilyOutcome]) -> list[str]:
    """A sentence for each family and shot: what TPCM brought over frozen CLIP, and the adapters over TPCM."""
    return [
        f"{name.capitalize()}, {shot}-shot: TPCM {brought(outcome.difference(PROTOTYPE_ONLY, FROZEN, shot))}; "
        f"adapters on top {brought(outcome.difference(FULL, PROTOTYPE_ONLY, shot))}."
        for name, outcome in outcomes.items()
        for shot in outcome.rows[FULL].results
    ]


def brought(difference: Difference) -> str:
    """ "brought 45.1 points (± 1.2)", "cost ...", or that no difference can be told from chance."""
    points, interval = round(difference.accuracy * 100, 1) + 0.0, difference.interval * 100  # + 0.0: no "-0.0"
    if not difference.real:
        return f"made no difference that can be told from chance ({points:+.1f} points ± {interval:.1f})"
    return f"{'brought' if points > 0 else 'cost'} {abs(points):.1f} points (± {interval:.1f})"


def name_weights(outcomes: Mapping[str, FamilyOutcome]) -> list[str]:
    """What matching names brought the full model: frames alone (a = 0) against the a chosen on validation classes."""
    sentences = []
    for name, outcome in outcomes.items():
        for shot, result in outcome.rows[FULL].results.items():
            frames, names = result.by_fusion_weight["0"], result.by_fusion_weight["1"]
            sentences.append(
                f"{name.capitalize()}, {shot}-shot: frames alone (a = 0) {frames:.1%}, "
                f"with the chosen a = {result.fusion_weight:g} {result.accuracy:.1%}, names alone (a = 1) {names:.1%}."
            )
    return sentences


def training_times(outcomes: Mapping[str, FamilyOutcome]) -> list[str]:
    """How long each trained row took, and what of that they share."""
    return [
        f"{name.capitalize()}: "
        + ", ".join(f"{ROW_TITLES[r.name]} {r.training_s:.0f} s" for r in outcome.rows.values() if r.training_s)
        + " of training. The first of them also read the clips and ran the part of CLIP that never changes; "
        "the next used that again."
        for name, outcome in outcomes.items()
    ]


def recognition(device: DeviceOutcome) -> list[str]:
    """What came of the exported bundle: whole clips, then the long video."""
    known = [answer for answer in device.answers if answer.truth is not None]
    strangers = [answer for answer in device.answers if answer.truth is None]
    sentences = []
    if known:
        right = sum(answer.right for answer in known)
        refused = sum(answer.label == UNKNOWN for answer in known)
        sentences.append(
            f"Whole clips of the {len(device.enrolled)} enrolled classes: {right} of {len(known)} right, "
            f'{len(known) - right - refused} taken for another class, {refused} called "unknown".'
        )
    if strangers:
        refused = sum(answer.right for answer in strangers)
        sentences.append(f'Clips of classes not enrolled: {refused} of {len(strangers)} called "unknown".')
    timeline = device.timeline
    alarms = len(timeline.false_alarms())
    sentences.append(
        f"Long video: {timeline.right()} of {len(timeline.segments)} actions answered rightly, "
        f"{alarms} false alarm{'' if alarms == 1 else 's'}; {timeline.duration_s:.0f} s of video "
        f"watched in {timeline.watching_s:.1f} s."
    )
    return sentences
