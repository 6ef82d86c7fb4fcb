"""What `maclip-run gallery doctor` finds in galleries with one clip under the wrong name, and how long it takes.

    python -m benchmarks.doctor [--bundle demo/bundle] [--smallest] [--json FILE]

Random galleries of drawn clips (`benchmarks.drawn`), three to six a class. In each, one clip of one class is enrolled
as another. Reported are the shares of these clips that a finding names (`misplaced`, `harmful`), of the other clips
that one names, and of the other clips that the rest of the gallery answers right. Rules are to be chosen on the
validation set; the test set, other classes and other seeds, is only reported. The time is that of a gallery of 1,000
classes with five clips each, whose features are random.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import add_bundle, bundle_facts, parse, parser, run
from benchmarks.drawn import DrawnSet, draw_clips, draw_gallery, drawn_sets
from maclip_runtime import Bundle, Decisions, EnrolledClip, Gallery, Recognizer
from maclip_runtime.diagnosis.report import Diagnosis
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.limits.intervals import share_interval
from maclip_runtime.matching.index import make_prototype
from maclip_runtime.tools.measuring.machine import machine_facts
from maclip_runtime.tools.measuring.output import results_console, table, write_json

CLIPS_EACH = (3, 4, 5, 6)
KINDS = ("misplaced", "harmful")


@dataclass(frozen=True)
class Size:
    """How much is measured: galleries of each number of clips, and the classes and clips of the large one."""

    galleries: int = 25
    clips_each: tuple[int, ...] = CLIPS_EACH
    classes: int = 1000
    clips: int = 5


SMALLEST = Size(galleries=2, clips_each=(3,), classes=4, clips=2)


@dataclass(frozen=True)
class Found:
    """Galleries of one size: of the clips with the wrong name and of the others, how many there are and are named."""

    clips_each: int
    wrong: int
    wrong_named: int
    others: int
    others_named: int
    others_right: int

    def facts(self) -> dict[str, Any]:
        """Counts, shares and their 95 % intervals (Wilson)."""
        return dataclasses.asdict(self) | {
            "wrong_named_share": share_interval(self.wrong_named, self.wrong),
            "others_named_share": share_interval(self.others_named, self.others),
            "others_right_share": self.others_right / self.others,
        }


def main() -> None:
    """Measure, print tables, and write JSON where asked to."""
    options = parser(__doc__)
    add_bundle(options)
    chosen = parse(options)
    machine, begun = machine_facts(), time.monotonic()
    size = SMALLEST if chosen.smallest else Size()
    sets = drawn_sets(max(size.clips_each) + 1 if chosen.smallest else None)
    encoder = Encoder(Bundle.open(chosen.bundle), device="cpu")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, drawn in sets.items():
            found[name] = [one.facts() for one in mislabelled(encoder, drawn, size, Path(folder) / name)]
        seconds = large(encoder, size, Path(folder) / "large.db")
    content = {
        "machine": machine,
        "bundle": bundle_facts(chosen.bundle),
        "size": dataclasses.asdict(size),
        "sets": found,
        "large": {"classes": size.classes, "clips": size.classes * size.clips, "seconds": round(seconds, 2)},
        "seconds": round(time.monotonic() - begun),
    }
    show(content)
    if chosen.json:
        write_json(chosen.json, content)


def mislabelled(encoder: Encoder, drawn: DrawnSet, size: Size, folder: Path) -> list[Found]:
    """What the doctor names in galleries of a set with one wrong clip each."""
    folder.mkdir()
    paths = draw_clips(drawn, folder / "clips")
    contract = encoder.bundle.manifest.contract
    clips: dict[str, list[EnrolledClip]] = {}
    with Gallery(folder / "all.db", contract=contract) as gallery:
        everything = Recognizer(encoder.bundle, gallery, encoder, Decisions())
        for name, files in paths.items():
            everything.enroll(name, files, no_text=not encoder.bundle.has_name(name), force=True)
            clips[name] = gallery.clips(name)
    found = []
    for each in size.clips_each:
        counts: Counter[str] = Counter()
        for number in range(size.galleries):
            names, order = draw_gallery(drawn, number)
            rng = np.random.default_rng((drawn.seed, number, each))
            giver, taker = (names[place] for place in rng.permutation(len(names))[:2])
            own = {name: [clips[name][place] for place in order[:each]] for name in names}
            wrong = dataclasses.replace(
                clips[giver][order[each]], class_name=taker, text_name=own[taker][0].text_name, text=own[taker][0].text
            )
            # As a user would have it: the class has as many clips as the others, and one of them is wrong.
            own[taker] = [*own[taker][1:], wrong]
            with Gallery(folder / f"{each}.{number}.db", contract=contract) as gallery:
                _add(gallery, encoder, [clip for many in own.values() for clip in many])
                recognizer = Recognizer(encoder.bundle, gallery, encoder, Decisions())
                counts += _counts(recognizer.diagnose(), gallery, wrong)
        found.append(Found(each, *(counts[key] for key in ("wrong", "wrong named", "others", "others named", "right"))))
    return found


def _counts(diagnosis: Diagnosis, gallery: Gallery, wrong: EnrolledClip) -> Counter[str]:
    """What the findings name, by clip."""
    named = {clip for finding in diagnosis.findings if finding.kind in KINDS for clip in finding.clips}
    ids = {clip.id for clip in gallery.clips(wrong.class_name) if clip.digest == wrong.digest}
    others = [clip for clip in diagnosis.clips if clip.id not in ids]
    return Counter(
        {
            "wrong": len(ids),
            "wrong named": len(ids & named),
            "others": len(others),
            "others named": sum(clip.id in named for clip in others),
            "right": sum(bool(clip.right) for clip in others),
        }
    )


def large(encoder: Encoder, size: Size, path: Path) -> float:
    """Seconds to diagnose a gallery of many classes with random features."""
    manifest, rng = encoder.bundle.manifest, np.random.default_rng(0)
    with Gallery(path, contract=manifest.contract) as gallery:
        for number in range(size.classes):
            middle = rng.standard_normal((manifest.frames, manifest.feature_width))
            made = []
            for place in range(size.clips):
                features = (middle + 0.5 * rng.standard_normal(middle.shape)).astype(np.float32)
                digest = f"{number * size.clips + place:064x}"
                made.append(
                    EnrolledClip(f"class {number}", None, None, features, features, digest, "drawn", 2.0, {}, b"")
                )
            _add(gallery, encoder, made)
        recognizer = Recognizer(encoder.bundle, gallery, encoder, Decisions())
        recognizer.index.ready()
        begun = time.perf_counter()
        recognizer.diagnose()
        return time.perf_counter() - begun


def _add(gallery: Gallery, encoder: Encoder, clips: list[EnrolledClip]) -> None:
    made = np.stack([make_prototype(encoder, clip) for clip in clips])
    gallery.add(clips, made, encoder.bundle.graph_digest("prototype"), force=True)


def show(content: dict[str, Any]) -> None:
    """A table of each set, and the time."""
    console = results_console()
    headings = ("clips a class", "wrong clips", "named", "95 % interval", "other clips", "named", "answered right")
    for name, rows in content["sets"].items():
        shown = [
            (
                *(str(row["clips_each"]), str(row["wrong"]), f"{row['wrong_named'] / row['wrong']:.0%}"),
                "{:.0%} to {:.0%}".format(*row["wrong_named_share"]),
                *(str(row["others"]), f"{row['others_named'] / row['others']:.1%}", f"{row['others_right_share']:.0%}"),
            )
            for row in rows
        ]
        console.print(table(f"{name}: one clip of each gallery under a wrong name", headings, shown))
    large = content["large"]
    console.print(f"{large['classes']:,} classes with {large['clips']:,} clips: {large['seconds']:.1f} s")


if __name__ == "__main__":
    run(main)
