"""`maclip eval` and `maclip compare`: evaluate a run, and compare two records."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maclip.config import EvaluationConfig
from maclip_cli.ray_option import RayOption, fleet_at
from maclip_cli.workstation.config_options import takes
from maclip_cli.workstation.data import (
    DecoderOption,
    FrameCacheOption,
    ListsOption,
    MaxBrokenOption,
    NamesOption,
    SkipMissingOption,
    VideosOption,
)
from maclip_cli.workstation.evaluate_streams import TITLES, compare_stream_records, figures_in_words, print_streams
from maclip_cli.workstation.requirements import need_training
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip.evaluation.evaluator import Result
    from maclip.evaluation.record import Record

MAX_CLASSES_LISTED = 5
DEVICES = ("auto", "cpu", "cuda")
CONFUSION_SUFFIXES = (".csv", ".png")


@takes(config=EvaluationConfig)
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run of maclip train.")],
    data: Annotated[
        Path | None,
        typer.Argument(
            help="A folder that holds a folder of clips for each class. With --streams: whose clips are enrolled; "
            "default: segments of the videos.",
            show_default=False,
        ),
    ] = None,
    streams: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Evaluate on the untrimmed videos of this .json (ActivityNet's form)."),
    ] = None,
    videos: VideosOption = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    lists: ListsOption = None,
    class_names: NamesOption = None,
    skip_missing: SkipMissingOption = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    pretrained: Annotated[str | None, typer.Option(help="New path of the backbone's weights, if moved.")] = None,
    max_broken: MaxBrokenOption = 0.0,
    decoder: DecoderOption = "pyav",
    frame_cache: FrameCacheOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the record here.")] = None,
    confusion: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the confusion matrix to FILE.csv and FILE.png.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write one HTML page: classes, confusions, strips.")
    ] = None,
    ray: RayOption = None,
    *,
    config: EvaluationConfig,
) -> None:
    """Few-shot accuracy on classes that are not in training: mean, 95 % interval, by class, and confusions.

    With --streams: how galleries of a few clips recognise the actions of untrimmed video. Precision, recall, F1, false
    alarms and latency of events; and how well strangers, actions that a gallery does not hold, are told from its own.
    """
    need_training()
    from maclip.data.dataset import SPLITS
    from maclip.data.opening import open_data
    from maclip.data.split_lists import SplitLists
    from maclip.evaluation.api import evaluate as evaluated
    from maclip.evaluation.record import write_record
    from maclip.runs import Run
    from maclip.training.distributed import pick_device
    from maclip_cli.progress import Bars

    for value, known in ((split, SPLITS), (device, DEVICES)):
        if value not in known:
            raise MaclipError("option-invalid", f"{value!r} is not a valid choice.", f"Use one of: {', '.join(known)}.")
    if streams is None and data is None:
        raise MaclipError("option-invalid", "There is nothing to evaluate on.", "Give DATA, --streams FILE, or both.")
    unused = {
        "--confusion": streams is not None and confusion is not None,
        "--frame-cache": streams is not None and frame_cache is not None,
        "--decoder": streams is not None and decoder != "pyav",
        "--videos": streams is None and videos is not None,
        "--lists": data is None and lists is not None,
    }
    for option, given in unused.items():
        if given:
            what = "--streams" if option == "--videos" else "DATA" if option == "--lists" else "episodes of DATA"
            raise MaclipError("option-invalid", f"{option} is for {what}.", f"Leave {option} out.")
    kind = pick_device(device)
    trained = Run.open(run)  # before reading the dataset, so that errors come early
    tables = [_with_suffix(confusion, suffix) for suffix in CONFUSION_SUFFIXES] if confusion else []
    for file in (json_file, report, *tables):
        if file is not None and file.is_dir():
            raise MaclipError("output-unwritable", f"{file} is a folder.", "Name a file to write.")
    found = open_data(data, SplitLists(str(lists), class_names, skip_missing) if lists else None) if data else None
    if streams is not None:
        from maclip.evaluation.streams.api import evaluate_streams
        from maclip.evaluation.streams.record import write_stream_record

        with Bars() as bars, fleet_at(ray, kind) as fleet:
            measured = evaluate_streams(
                trained, streams, config,
                videos=videos, clips=found, split=split, device=kind, max_broken=max_broken,
                pretrained=pretrained, progress=bars.progress, note=bars.note, fleet=fleet,
            )  # fmt: skip
        print_streams(measured)
        if json_file is not None:
            write_stream_record(json_file, measured)
        if report is not None:
            from maclip_cli.workstation.evaluation_report import page_of_streams, write_report

            write_report(report, page_of_streams(measured, TITLES, figures_in_words(measured)))
        return
    assert found is not None
    with Bars() as bars, fleet_at(ray, kind) as fleet:
        record = evaluated(
            trained, found, config,
            split=split, device=kind, decoder=decoder, frame_cache=frame_cache, max_broken=max_broken,
            pretrained=pretrained, progress=bars.progress, note=bars.note, fleet=fleet,
        )  # fmt: skip
    # Printed first, so that the accuracy is not lost if a file cannot be written.
    _print_result(record)
    if json_file is not None:
        write_record(json_file, record)
    if tables:
        _write_confusion(tables, record.result)
    if report is not None:
        from maclip_cli.workstation.evaluation_report import page_of_episodes, write_report

        write_report(report, page_of_episodes(record, found))


def compare(
    a: Annotated[Path, typer.Argument(metavar="A.json", help="A record of maclip eval --json.")],
    b: Annotated[Path, typer.Argument(metavar="B.json", help="Another record, on the same episodes or galleries.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON, on stdout.")] = False,
) -> None:
    """Is B better than A? The difference on the same episodes or galleries, with its paired 95 % interval."""
    need_training()
    from maclip.evaluation.streams.record import is_stream_record

    if is_stream_record(a) or is_stream_record(b):
        compare_stream_records(a, b, as_json)
        return
    from maclip.evaluation.record import compare as compared
    from maclip.evaluation.record import read_record

    found = compared(read_record(a), read_record(b), str(a), str(b))
    if as_json:
        typer.echo(json.dumps({**dataclasses.asdict(found), "separated": found.separated}))
        return
    if found.separated:
        verdict = "better" if found.difference > 0 else "worse"
    else:
        verdict = "no significant difference"
    console = Console()
    console.print(escape(f"A  {found.accuracy_a:.2%}  {a}"), soft_wrap=True)
    console.print(escape(f"B  {found.accuracy_b:.2%}  {b}"), soft_wrap=True)
    console.print(
        f"B - A: {100 * found.difference:+.2f} ± {100 * found.interval:.2f} points over {found.episodes:,} paired "
        f"episodes: {verdict}",
        soft_wrap=True,
    )


def _print_result(record: Record) -> None:
    console = Console()
    result, split = record.result, record.split
    seen = len(set(record.seen_in_training) & set(record.asked))
    classes = f"{len(record.asked)} {split} classes"
    if record.too_small:
        classes += f" ({len(record.too_small)} more have too few clips)"
    if seen and split != "train":
        classes += f", {seen} of which were also in training: not few-shot accuracy on new classes"
    unnamed = result.support.names == "none"
    how = "without names" if unnamed else f"text weight a = {result.fusion_weight:g}"
    console.print(
        f"{result.way}-way {result.shot}-shot on {classes}: {result.accuracy:.1%} ± "
        f"{result.interval:.1%} ({result.episodes:,} episodes, {how})",
        soft_wrap=True,
    )
    if not unnamed:
        others = "  ".join(f"{w}: {a:.1%}" for w, a in result.by_fusion_weight.items())
        console.print(f"accuracy for other a (0: frames only, 1: names only): {others}", soft_wrap=True)
    table = Table("hardest classes", "accuracy", "most often confused with")
    for name in sorted(result.by_class, key=lambda name: result.by_class[name])[:MAX_CLASSES_LISTED]:
        row = result.confusion[result.names.index(name)]
        count, other = max((count, other) for count, other in zip(row, result.names, strict=True) if other != name)
        confused = f"{other} ({count / sum(row):.0%})" if count else "-"
        table.add_row(escape(name), f"{result.by_class[name]:.1%}", escape(confused))
    console.print(table)


def _with_suffix(path: Path, suffix: str) -> Path:
    """`path` with `suffix`, which replaces .csv or .png and follows any other suffix."""
    stem = path.stem if path.suffix.lower() in CONFUSION_SUFFIXES else path.name
    return path.parent / (stem + suffix)


def _write_confusion(files: list[Path], result: Result) -> None:
    from maclip.evaluation.figures import confusion_figure
    from maclip.evaluation.record import confusion_csv
    from maclip.writing import replacing

    with replacing(files[0]) as temporary:
        temporary.write_text(confusion_csv(result), encoding="utf-8")
    with replacing(files[1]) as temporary:
        confusion_figure(result, temporary)
