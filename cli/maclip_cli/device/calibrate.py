"""`maclip-run calibrate`: for each class the distance above which the answer is "unknown", and its errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from maclip_cli.console import people, print_json, results
from maclip_cli.device.options import (
    AllowFallbackOption,
    BundleOption,
    DeviceOption,
    GalleryOption,
    InsecureOption,
    JsonOption,
    ThreadsOption,
    TrustEnginesOption,
    open_gallery,
    open_recognizer,
    total_length,
)
from maclip_cli.ray_option import RayOption, fleet_at, threads_of
from maclip_cli.waiting import bar
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip_runtime import Calibration
    from maclip_runtime.limits.calibrate import ClassCalibration


def calibrate(
    bundle: BundleOption,
    gallery: GalleryOption,
    background: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BACKGROUND...",
            help="Videos or cameras in which none of the classes happens; without any, the gallery's negatives and "
            "the other classes stand for it.",
        ),
    ] = None,
    false_alarms: Annotated[
        float | None,
        typer.Option(
            min=0, help="False alarms an hour that each class may cause; default: the limits with the fewest errors."
        ),
    ] = None,
    window: Annotated[float | None, typer.Option(help="Length of a window in seconds, as in `recognize`.")] = None,
    hop: Annotated[float | None, typer.Option(help="Seconds between windows, as in `recognize`.")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="How many seconds of each source to look at; default: all.")
    ] = None,
    roi: Annotated[
        str | None, typer.Option(metavar="X,Y,W,H", help="Use only this part of the picture, as in `recognize`.")
    ] = None,
    insecure: InsecureOption = False,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw distances and limits, PNG or SVG.")] = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="Go back to the limits measured on the gallery alone.")
    ] = False,
    device: DeviceOption = "auto",
    allow_fallback: AllowFallbackOption = False,
    threads: ThreadsOption = None,
    trust_engines: TrustEnginesOption = False,
    as_json: JsonOption = False,
    ray: RayOption = None,
) -> None:
    """Set for each class the distance above which the answer is "unknown", and say how often it errs."""
    if clear:
        _clear(gallery, bool(background), as_json)
        return
    from maclip_runtime.sources import Roi, SourceOptions

    options = SourceOptions(roi=None if roi is None else Roi.parse(roi), insecure=insecure)
    console = people()
    length_s = total_length(background or [], seconds)
    with (
        open_recognizer(
            bundle, gallery, device, None, allow_fallback, threads_of(ray, threads), trust_engines
        ) as recognizer,
        bar("looking at background") as update,
        fleet_at(ray, device, threads) as fleet,
    ):
        done = recognizer.calibrate(
            background or (),
            false_alarms=false_alarms,
            window_s=window,
            hop_s=hop,
            seconds=seconds,
            progress=lambda done_s: update(done_s, length_s),
            options=options,
            fleet=fleet,
        )
    if figure is not None:
        from maclip_runtime.limits.figure import draw

        draw(done, figure)
        console.print(escape(f"see {figure}"), soft_wrap=True)
    if as_json:
        for one in done.classes:
            print_json({"name": one.name, "limit": one.limit, **one.facts(), "measured_on": done.measured_on})
    else:
        _print(done)


def _clear(path: Path, more: bool, as_json: bool) -> None:
    if more:
        raise MaclipError("option-invalid", "--clear takes no background.", "Leave out either.")
    with open_gallery(path) as opened:
        count = len(opened.limits())
        if count:
            opened.keep_limits([])
    if as_json:
        print_json({"cleared": count})
    else:
        results().print(f"Cleared {count} limits; they are measured on the gallery again.")


def _print(done: Calibration) -> None:
    hours = bool(done.hours)
    last = "false alarms an hour" if hours else "strangers accepted"
    table = Table("class", "limit", "missed", "95 %", last, "95 %")
    for one in done.classes:
        table.add_row(escape(one.name), f"{one.limit:.3f}", *_missed(one), *(_alarms(one) if hours else _accepted(one)))
    out = results()
    out.print(table)
    out.print(escape(f"Measured on {done.measured_on}; each class's clips left out one by one."), soft_wrap=True)
    interval = done.alarms_an_hour_interval
    if interval is not None:
        out.print(
            f"All classes: {done.alarms_an_hour:.1f} false alarms an hour ({interval[0]:.1f} to {interval[1]:.1f}), "
            "counted in windows, in this background: expect a few more in another.",
            soft_wrap=True,
        )


def _missed(one: ClassCalibration) -> tuple[str, str]:
    if one.miss_interval is None:
        return "unknown", "one clip"
    return f"{one.misses} of {len(one.own)}", _percent(one.miss_interval)


def _accepted(one: ClassCalibration) -> tuple[str, str]:
    shares = one.accepted_interval
    return f"{one.accepted} of {len(one.strangers)}", "-" if shares is None else _percent(shares)


def _alarms(one: ClassCalibration) -> tuple[str, str]:
    rate, interval = one.alarms_an_hour, one.alarms_an_hour_interval
    assert rate is not None
    assert interval is not None
    return f"{rate:.1f}", f"{interval[0]:.1f} to {interval[1]:.1f}"


def _percent(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.0%} to {interval[1]:.0%}"
