"""The quality gate of enrolment, measured: how many good clips it refuses, and how many misplaced ones it finds.

    python -m benchmarks.enrolment CLIPS [--bundle demo/bundle] [--also VIDEO...] [--smallest] [--json FILE]

CLIPS is a folder that `maclip synth` or `make demo` wrote (FOLDER/classes.json). First the pictures of all clips, and
of those given with --also, against the limits of `maclip_runtime.reading.quality`. Then, with the clips of test
classes only, galleries of six classes, four or five clips each, drawn at random: other clips are offered to
their own class (a refusal is an error) and to the next one (a refusal is right). Interval: 95 %, Wilson, as if offers
were independent.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.command import add_bundle, bundle_facts, parse, parser, run
from maclip.data.dataset import open_folders
from maclip_runtime import EnrolledClip, Gallery, Recognizer, read_clip
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.limits.intervals import share_interval
from maclip_runtime.matching.index import build_index, make_prototype
from maclip_runtime.matching.placement import misplaced
from maclip_runtime.reading import quality
from maclip_runtime.reading.frames import prepare, segment_indices
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json

SEED = 0


@dataclass(frozen=True)
class Size:
    """Galleries of `classes` classes for each number of clips in `clips_each`, to which `offered` clips a class go."""

    classes: int = 6
    clips_each: tuple[int, ...] = (4, 5)
    offered: int = 5
    galleries: int = 10


SMALLEST = Size(classes=3, clips_each=(2,), offered=1, galleries=1)


@dataclass(frozen=True)
class Offered:
    """Clips offered to a class that holds `clips_each` clips: how many were refused, and for which reasons."""

    right_class: bool
    clips_each: int
    offered: int
    refused: int
    far_from_class: int
    near_other_class: int
    duplicate: int
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Pictures:
    """Which clips were judged, how many were refused for their pictures, and the figures nearest to the limits."""

    what: str
    clips: int
    refused: int
    min_motion: float
    min_brightness: float
    max_brightness: float
    max_blur: float


def pictures(what: str, paths: list[Path], encoder: Encoder) -> Pictures:
    """Judge the pictures of clips as an enrolment does."""
    manifest = encoder.bundle.manifest
    found, refused = [], 0
    for path in paths:
        clip = read_clip(
            path,
            lambda total: segment_indices(total, manifest.frames),
            lambda frame: prepare(frame, manifest.preprocess),
        )
        found.append(quality.figures(clip.frames))
        refused += bool(quality.faults(found[-1], clip.duration_s))
    values = {key: [one[key] for one in found] for key in ("motion", "brightness", "blur")}
    return Pictures(
        what,
        len(paths),
        refused,
        min(values["motion"]),
        min(values["brightness"]),
        max(values["brightness"]),
        max(values["blur"]),
    )


def offers(bundle: Path, classes: dict[str, list[Path]], size: Size) -> list[Offered]:
    """Offer clips to galleries of some of the classes."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Recognizer.open(bundle, Path(folder) / "all.db", device="cpu") as all_of,
    ):
        known = all_of.bundle
        for name, paths in classes.items():
            all_of.enroll(name, paths, no_text=not known.has_name(name), force=True)
        clips = {name: all_of.gallery.clips(name) for name in classes}
        encoder = all_of.encoder
        rng = np.random.default_rng(SEED)
        seen: dict[tuple[bool, int], list[set[str]]] = {}
        for each in size.clips_each:
            for number in range(size.galleries):
                chosen = [list(classes)[place] for place in rng.permutation(len(classes))[: size.classes]]
                dealt = {name: [clips[name][place] for place in rng.permutation(len(clips[name]))] for name in chosen}
                with Gallery(Path(folder) / f"{each}.{number}.db", contract=known.manifest.contract) as gallery:
                    for name in chosen:
                        _add(gallery, encoder, dealt[name][:each])
                    for place, name in enumerate(chosen):
                        for right in (True, False):
                            giver = name if right else chosen[(place + 1) % len(chosen)]
                            for clip in dealt[giver][each : each + size.offered]:
                                refused = _codes(gallery, encoder, replace(clip, class_name=name))
                                seen.setdefault((right, each), []).append(refused)
    return [
        Offered(
            right,
            each,
            len(found),
            sum(map(bool, found)),
            sum("far-from-class" in codes for codes in found),
            sum("near-other-class" in codes for codes in found),
            sum("duplicate" in codes for codes in found),
            share_interval(sum(map(bool, found)), len(found)),
        )
        for (right, each), found in seen.items()
    ]


def _add(gallery: Gallery, encoder: Encoder, clips: list[EnrolledClip]) -> None:
    prototypes = np.stack([make_prototype(encoder, clip) for clip in clips])
    gallery.add(clips, prototypes, encoder.bundle.graph_digest("prototype"))


def _codes(gallery: Gallery, encoder: Encoder, clip: EnrolledClip) -> set[str]:
    prototype = make_prototype(encoder, clip)[None]
    (found,) = misplaced(gallery, encoder, build_index(gallery, encoder), [clip], prototype)
    return {reason.code for reason in found}


def main() -> None:
    """Measure, print, and write the figures."""
    options = parser(__doc__)
    options.add_argument("clips", type=Path)
    add_bundle(options)
    options.add_argument("--also", type=Path, nargs="*", default=[], help="more clips whose pictures are judged")
    chosen = parse(options)
    machine = machine_facts()
    size = SMALLEST if chosen.smallest else Size()
    data = open_folders(chosen.clips)
    each = 1 if chosen.smallest else None
    drawn = [path for split in ("train", "val", "test") for one in data.split(split) for path in one.clips[:each]]
    with (
        tempfile.TemporaryDirectory() as folder,
        Recognizer.open(chosen.bundle, Path(folder) / "gallery.db", device="cpu") as recognizer,
    ):
        judged = [pictures("generated", drawn, recognizer.encoder)]
        if chosen.also:
            judged.append(pictures("also", chosen.also, recognizer.encoder))
    offered = offers(chosen.bundle, {one.name: list(one.clips) for one in data.split("test")}, size)
    show(judged, offered)
    if chosen.json:
        facts = {
            "machine": machine,
            "bundle": bundle_facts(chosen.bundle),
            "pictures": [asdict(one) for one in judged],
            "offered": [asdict(one) for one in offered],
        }
        write_json(chosen.json, facts)


def show(judged: list[Pictures], offered: list[Offered]) -> None:
    """A table of the pictures, and one of the offers."""
    shown = [
        (
            *(one.what, f"{one.clips:,}", str(one.refused), f"{one.min_motion:.1f}"),
            *(f"{one.min_brightness:.1f}", f"{one.max_brightness:.1f}", f"{one.max_blur:.3f}"),
        )
        for one in judged
    ]
    console = results_console()
    columns = ("pictures", "clips", "refused", "motion from", "brightness from", "to", "blur up to")
    console.print(table("the figures of pictures nearest to the limits", columns, shown))
    rows = [
        (
            "own" if one.right_class else "another",
            *map(str, (one.clips_each, one.offered, one.refused)),
            "-" if one.interval is None else f"{one.interval[0]:.1%} to {one.interval[1]:.1%}",
            *map(str, (one.far_from_class, one.near_other_class, one.duplicate)),
        )
        for one in offered
    ]
    headings = ("class", "clips each", "offered", "refused", "interval", "far from class", "near other", "duplicate")
    console.print(table("clips offered to galleries", headings, rows))


if __name__ == "__main__":
    run(main)
