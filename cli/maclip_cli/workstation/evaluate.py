"""`maclip eval` and `maclip compare`: accuracy as a record, and two records side by side."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maclip_cli.workstation.data import (
    DecoderOption,
    FrameCacheOption,
    ListsOption,
    MaxBrokenOption,
    NamesOption,
    SkipMissingOption,
)
from maclip_cli.workstation.requirements import need_training
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip.evaluation.evaluator import Result

WORST = 5  # classes listed
DEVICES = ("auto", "cpu", "cuda")
CONFUSION_SUFFIXES = (".csv", ".png")


def evaluate(
    run: Annotated[Path, typer.Argument(help="What maclip train made.")],
    data: Annotated[Path, typer.Argument(help="A folder that holds a folder of clips for each class.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    lists: ListsOption = None,
    class_names: NamesOption = None,
    skip_missing: SkipMissingOption = False,
    way: Annotated[int, typer.Option(min=2, help="Classes an episode.")] = 5,
    shot: Annotated[int, typer.Option(min=1, help="Support clips a class.")] = 1,
    queries: Annotated[int, typer.Option(min=1, help="Query clips a class.")] = 1,
    episodes: Annotated[int, typer.Option(min=1)] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the episodes.")] = 0,
    names: Annotated[
        str, typer.Option(help="What support clips are told: own, none, or wrong (each class called as another).")
    ] = "own",
    average: Annotated[
        str, typer.Option(help="Where shots become one: prototypes (after TPCM) or features (before).")
    ] = "prototypes",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    pretrained: Annotated[str | None, typer.Option(help="Where the backbone's weights are now, if elsewhere.")] = None,
    max_broken: MaxBrokenOption = 0.0,
    decoder: DecoderOption = "pyav",
    frame_cache: FrameCacheOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the record here.")] = None,
    confusion: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the confusion matrix: FILE.csv and FILE.png.")
    ] = None,
) -> None:
    """Few-shot accuracy on classes that training never saw: mean, 95 % interval, by class, and who is confused."""
    need_training()
    import maclip
    from maclip.data.clip_reader import ClipReader
    from maclip.data.clip_store import ClipStore
    from maclip.data.dataset import SPLITS
    from maclip.data.disk_cache import ClipCache
    from maclip.data.episodes import EpisodeSampler
    from maclip.data.split_lists import SplitLists, open_classes
    from maclip.evaluation.evaluator import AVERAGES, NAMES, Evaluator, Support
    from maclip.evaluation.record import RECORD_FORMAT, Record, clips_sha256, episodes_sha256, write_record
    from maclip.runs import ADAPTERS_FILE, read_run
    from maclip.training.distributed import pick_device
    from maclip_cli.progress import Bars
    from maclip_runtime.bundle.opening import name_key

    for value, known in ((split, SPLITS), (names, NAMES), (average, AVERAGES), (device, DEVICES)):
        if value not in known:
            raise MaclipError("option-invalid", f"{value!r} is no choice here.", f"Use one of: {', '.join(known)}.")
    kind = pick_device(device)
    trained = read_run(run)  # refuses what is no run before it looks at the clips
    tables = [_beside(confusion, suffix) for suffix in CONFUSION_SUFFIXES] if confusion else []
    for file in (json_file, *tables):
        if file is not None and file.is_dir():
            raise MaclipError("output-unwritable", f"{file} is a folder.", "Name a file to write.")
    found = open_classes(data, SplitLists(str(lists), class_names, skip_missing) if lists else None)
    classes = found.split(split)
    if not classes:
        raise MaclipError("data-empty", f"{data} has no class of split {split!r}.", "Choose another --split.")
    EpisodeSampler([len(c.clips) for c in classes], way, shot, queries, seed)  # refuses too few clips before the work
    taught = set(map(name_key, trained.taught))
    seen = tuple(c.name for c in classes if name_key(c.name) in taught)
    model = maclip.load(run, pretrained).to(kind)
    with Bars() as bars:
        cache = ClipCache(frame_cache, bars.note) if frame_cache else None
        reader = ClipReader(model.backbone.preprocess, model.config.frames, decoder, cache)
        store = ClipStore(model, classes, reader, max_broken)
        evaluator = Evaluator(model, store, bars.progress("features"), Support(names, average))
        for line in (*found.left_out, *(f"left out: {line}" for line in store.broken.report())):
            bars.note(line)
        result = evaluator.evaluate(way, shot, episodes, seed, progress=bars.progress("episodes"), queries=queries)
    _show(result, split, len(seen))  # first, so that a file that cannot be written costs no accuracy
    if json_file is not None:
        adapters = hashlib.sha256((run / ADAPTERS_FILE).read_bytes()).hexdigest()
        digest = episodes_sha256(evaluator.classes, result)
        record = Record(
            RECORD_FORMAT,
            maclip.__version__,
            str(run),
            adapters,
            str(data),
            split,
            digest,
            result.by_class,
            result,
            seen,
            clips_sha256(evaluator.classes),
        )
        write_record(json_file, record)
    if tables:
        _write_confusion(tables, result)


def compare(
    a: Annotated[Path, typer.Argument(metavar="A.json", help="A record of maclip eval --json.")],
    b: Annotated[Path, typer.Argument(metavar="B.json", help="Another, on the same episodes.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")] = False,
) -> None:
    """Is B better than A? The difference on the same episodes, with its paired 95 % interval."""
    need_training()
    from maclip.evaluation.record import compare as compared
    from maclip.evaluation.record import read_record

    found = compared(read_record(a), read_record(b), str(a), str(b))
    if as_json:
        typer.echo(json.dumps({**dataclasses.asdict(found), "separated": found.separated}))
        return
    if found.separated:
        verdict = "better" if found.difference > 0 else "worse"
    else:
        verdict = "not told apart"
    console = Console()
    console.print(escape(f"A  {found.accuracy_a:.2%}  {a}"), soft_wrap=True)
    console.print(escape(f"B  {found.accuracy_b:.2%}  {b}"), soft_wrap=True)
    console.print(
        f"B - A: {100 * found.difference:+.2f} ± {100 * found.interval:.2f} points over {found.episodes:,} paired "
        f"episodes: {verdict}",
        soft_wrap=True,
    )


def _show(result: Result, split: str, seen: int) -> None:
    console = Console()
    classes = f"{len(result.names)} {split} classes"
    if seen and split != "train":
        classes += f", {seen} of which training had too: not few-shot accuracy of new classes"
    console.print(
        f"{result.way}-way {result.shot}-shot on {classes}: {result.accuracy:.1%} ± "
        f"{result.interval:.1%} ({result.episodes:,} episodes, text weight a = {result.fusion_weight:g})",
        soft_wrap=True,
    )
    others = "  ".join(f"{w}: {a:.1%}" for w, a in result.by_fusion_weight.items())
    console.print(f"for other a (0: frames alone, 1: names alone): {others}", soft_wrap=True)
    table = Table("hardest classes", "accuracy", "most often taken for")
    for name in sorted(result.by_class, key=lambda name: result.by_class[name])[:WORST]:
        row = result.confusion[result.names.index(name)]
        share, other = max((count, other) for count, other in zip(row, result.names, strict=True) if other != name)
        taken = f"{other} ({share / sum(row):.0%})" if share else "-"
        table.add_row(escape(name), f"{result.by_class[name]:.1%}", escape(taken))
    console.print(table)


def _beside(path: Path, suffix: str) -> Path:
    """`path` with `suffix`, in the place of one of the two that are written and after any other."""
    stem = path.stem if path.suffix.lower() in CONFUSION_SUFFIXES else path.name
    return path.parent / (stem + suffix)


def _write_confusion(files: list[Path], result: Result) -> None:
    from maclip.evaluation.figures import confusion_figure
    from maclip.evaluation.record import confusion_csv
    from maclip.runs import replacing

    with replacing(files[0]) as temporary:
        temporary.write_text(confusion_csv(result), encoding="utf-8")
    with replacing(files[1]) as temporary:
        confusion_figure(result, temporary)
