"""The quality gate of enrolment, measured: how many good clips it holds back, how many misplaced ones it finds.

    python -m benchmarks.enrolment CLIPS --bundle BUNDLE [--also VIDEO_OR_FOLDER...] [--json FILE]

CLIPS is a folder that `maclip synth` or `make demo` wrote (FOLDER/classes.json). First the pictures of all clips, and
of those given with --also, against the limits of `maclip_runtime.reading.quality`. Then, with the clips of test
classes only, galleries of six classes, four or five clips each, drawn at random: other clips are offered to
their own class (a refusal is an error) and to the next one (a refusal is right). Interval: 95 %, Wilson, as if offers
were independent.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from maclip.data.dataset import open_data
from maclip_runtime import EnrolledClip, Gallery, Recognizer, read_clip
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.limits.intervals import share_interval
from maclip_runtime.matching.index import build_index, make_prototype
from maclip_runtime.matching.placement import misplaced
from maclip_runtime.reading import quality
from maclip_runtime.reading.frames import prepare, segment_indices
from maclip_runtime.tools.measuring.machine import commit_of

ROOT = Path(__file__).parents[1]
CLASSES = 6
OFFERED = 5  # clips to each class, of its own and of the next one
CLIPS_EACH = (4, 5)
GALLERIES = 10
SEED = 0


@dataclass(frozen=True)
class Offered:
    """Clips that were offered to a class of `clips_each` clips, and how many were refused for which reasons."""

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
    """What was looked at, how many clips were refused for their pictures, and the figures nearest to the limits."""

    what: str
    clips: int
    refused: int
    least_motion: float
    least_brightness: float
    most_brightness: float
    most_blur: float


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


def offers(bundle: Path, classes: dict[str, list[Path]]) -> list[Offered]:
    """Offer clips to galleries of six of the classes."""
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
        for each in CLIPS_EACH:
            for number in range(GALLERIES):
                chosen = [list(classes)[place] for place in rng.permutation(len(classes))[:CLASSES]]
                dealt = {name: [clips[name][place] for place in rng.permutation(len(clips[name]))] for name in chosen}
                with Gallery(Path(folder) / f"{each}.{number}.db", contract=known.manifest.contract) as gallery:
                    for name in chosen:
                        _add(gallery, encoder, dealt[name][:each])
                    for place, name in enumerate(chosen):
                        for right in (True, False):
                            giver = name if right else chosen[(place + 1) % len(chosen)]
                            for clip in dealt[giver][each : each + OFFERED]:
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--also", type=Path, nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    data = open_data(args.clips)
    drawn = [path for split in ("train", "val", "test") for one in data.split(split) for path in one.clips]
    with Recognizer.open(args.bundle, Path(tempfile.gettempdir()) / "maclip-no-gallery.db", device="cpu") as recognizer:
        looked = [pictures("generated", drawn, recognizer.encoder)]
        if args.also:
            looked.append(pictures("also", args.also, recognizer.encoder))
    test = {one.name: list(one.clips) for one in data.split("test")}
    offered = offers(args.bundle, test)
    for one in looked:
        print(one)
    for two in offered:
        print(two)
    if args.json:
        facts: dict[str, Any] = {
            "commit": commit_of(ROOT),
            "pictures": [asdict(one) for one in looked],
            "offered": [asdict(two) for two in offered],
        }
        args.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
