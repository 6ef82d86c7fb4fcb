"""What a diagnosis finds in galleries whose faults are known, and that it finds nothing in good ones."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import FRAMES, NAMES, WIDTH, text_features, write_bundle

from maclip_runtime import Diagnosis, EnrolledClip, Recognizer
from maclip_runtime.engines.encoder import Match
from maclip_runtime.gallery import ClassLimit, clips_key
from maclip_runtime.limits.intervals import mean_interval
from maclip_runtime.limits.measured import graphs_key

NOISE = 0.5  # of a class's spread; distances within a class are about 0.1, between classes 1
RNG_SEED = 5


class Maker:
    """Makes clips of actions, each a random path in the space of features, without any video."""

    def __init__(self, seed: int = RNG_SEED) -> None:
        self._rng = np.random.default_rng(seed)
        self._paths: dict[str, np.ndarray] = {}
        self.made = 0

    def query(self, action: str, noise: float = NOISE) -> np.ndarray:
        path = self._paths.setdefault(action, self._rng.normal(size=(FRAMES, WIDTH)))
        return (path + noise * self._rng.normal(size=path.shape)).astype(np.float32)

    def clip(self, name: str, action: str | None = None, query: np.ndarray | None = None) -> EnrolledClip:
        """A clip of `action` (default: `name`) that is enrolled as `name`."""
        self.made += 1
        query = self.query(action or name) if query is None else query
        known = name in NAMES
        return EnrolledClip(
            name,
            name if known else None,
            text_features()[NAMES.index(name)] if known else None,
            query,
            query,
            f"{self.made:064x}",
            f"{name or 'negative'}{self.made}.mp4",
            1.0,
            {},
            b"",
        )


def add(recognizer: Recognizer, clips: Sequence[EnrolledClip]) -> None:
    made = np.stack([clip.features for clip in clips])
    recognizer.gallery.add(clips, made, recognizer.bundle.graph_digest("prototype"), force=True)


def kinds(found: Diagnosis) -> list[str]:
    return [finding.kind for finding in found.findings]


@pytest.fixture
def maker() -> Maker:
    return Maker()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("clips", [2, 3, 6])
def test_a_good_gallery_has_no_findings(bundle: Path, gallery: Path, seed: int, clips: int) -> None:
    maker = Maker(seed)
    with Recognizer.open(bundle, gallery, threads=1) as recognizer:
        add(
            recognizer, [maker.clip(name) for name in ("a", "b", "c", "red light", "green light") for _ in range(clips)]
        )
        add(recognizer, [maker.clip("", "nothing") for _ in range(2)])
        found = recognizer.diagnose()
    assert found.findings == ()
    assert (found.right, found.tested, found.negatives) == (5 * clips, 5 * clips, 2)
    assert [step.clips for step in found.curve] == list(range(1, clips - 1))
    assert all(step.accuracy == step.accuracy_next == 1 and step.gain_interval is None for step in found.curve)
    assert bool(found.notes) == (clips == 2)  # with two clips a class nothing can be left out twice


@pytest.mark.parametrize("clips", [3, 4, 5, 8])
def test_a_clip_in_the_wrong_class_is_named(bundle: Path, gallery: Path, maker: Maker, clips: int) -> None:
    with Recognizer.open(bundle, gallery, threads=1) as recognizer:
        for name in ("a", "b", "c"):
            add(recognizer, [maker.clip(name) for _ in range(clips)])
        add(recognizer, [maker.clip("wave", "b"), *(maker.clip("wave") for _ in range(clips - 1))])
        wrong = recognizer.gallery.clips("wave")[0].id
        (finding,) = recognizer.diagnose().findings
        assert (finding.kind, finding.clips[0], finding.classes) == ("misplaced", wrong, ("wave", "b"))
        assert finding.message.startswith(f"Clip {wrong} ({recognizer.gallery.clips('wave')[0].source}) of 'wave' ")
        assert f"gallery remove wave --clip {wrong} --gallery" in finding.commands[0]
        recognizer.remove("wave", clip_id=wrong)
        assert recognizer.diagnose().findings == ()


def test_of_two_clips_neither_is_accused(bundle: Path, gallery: Path, maker: Maker) -> None:
    with Recognizer.open(bundle, gallery, threads=1) as recognizer:
        add(recognizer, [maker.clip(name) for name in ("a", "b", "c") for _ in range(3)])
        add(recognizer, [maker.clip("wave", "b"), maker.clip("wave")])
        found = recognizer.diagnose().findings
    assert "misplaced" not in {one.kind for one in found}
    assert "missed" in {one.kind for one in found}


@pytest.mark.parametrize("clips", [3, 5])
def test_one_action_under_two_names_is_a_confusion(bundle: Path, gallery: Path, clips: int) -> None:
    maker = Maker(clips)
    with Recognizer.open(bundle, gallery, threads=1) as recognizer:
        for name, action in (("wave", "wave"), ("a", "a"), ("greet", "wave"), ("b", "b")):
            add(recognizer, [maker.clip(name, action) for _ in range(clips)])
        found = recognizer.diagnose()
    assert kinds(found) == ["confused"]
    (finding,) = found.findings
    assert set(finding.classes) == {"wave", "greet"}
    owners = {clip.id: clip.class_name for clip in found.clips}
    assert {owners[one] for one in finding.clips} == {"wave", "greet"}  # one strip of each, side by side
    assert finding.figures["clips"] == 2 * clips


def test_a_clip_that_is_there_twice_is_a_duplicate(bundle: Path, gallery: Path, maker: Maker) -> None:
    with Recognizer.open(bundle, gallery, threads=1) as recognizer:
        add(recognizer, [maker.clip(name) for name in ("a", "b") for _ in range(3)])
        first = recognizer.gallery.clips("a")[0]
        again = maker.clip("a", query=first.query)
        encoded_again = maker.clip("b", query=recognizer.gallery.clips("b")[1].query + np.float32(0.01))
        add(recognizer, [dataclasses.replace(again, digest=first.digest)])
        add(recognizer, [encoded_again])
        found = recognizer.diagnose()
        ids = [[clip.id for clip in recognizer.gallery.clips(name)] for name in ("a", "b")]
    assert kinds(found) == ["duplicate", "duplicate"]
    assert [finding.clips for finding in found.findings] == [(ids[0][0], ids[0][3]), (ids[1][1], ids[1][3])]
    assert [one.clips for one in found.classes] == [3, 3]  # each counts once


def test_a_clip_twice_is_no_second_clip(bundle: Path, gallery: Path, maker: Maker) -> None:
    with Recognizer.open(bundle, gallery, threads=1) as recognizer:
        add(recognizer, [maker.clip("a") for _ in range(3)])
        one = maker.clip("b")
        add(recognizer, [one, dataclasses.replace(one, source="again.mp4")])
        found = recognizer.diagnose()
    assert kinds(found) == ["duplicate", "one-clip"]
    assert [clip.right for clip in found.clips] == [True, True, True, None, None]


def test_a_clip_in_two_classes_is_told_from_the_class_it_does_not_fit(
    bundle: Path, gallery: Path, maker: Maker
) -> None:
    with Recognizer.open(bundle, gallery, threads=1) as recognizer:
        add(recognizer, [maker.clip(name) for name in ("a", "b") for _ in range(4)])
        shown = recognizer.gallery.clips("a")[1]
        add(recognizer, [dataclasses.replace(maker.clip("b", query=shown.query), digest=shown.digest)])
        found = recognizer.diagnose()
        wrong = recognizer.gallery.clips("b")[-1].id
    assert kinds(found) == ["in-two-classes"]
    (finding,) = found.findings
    assert finding.clips == (shown.id, wrong)
    assert finding.commands == (f"maclip-run gallery remove b --clip {wrong} --gallery {gallery}",)


def test_a_negative_that_shows_a_class_is_named(bundle: Path, gallery: Path, maker: Maker) -> None:
    with Recognizer.open(bundle, gallery, threads=1) as recognizer:
        add(recognizer, [maker.clip(name) for name in ("a", "b") for _ in range(5)])
        same = recognizer.gallery.clips("a")[0]
        middle = np.mean([clip.query for clip in recognizer.gallery.clips("b")], axis=0)
        add(recognizer, [maker.clip("", "nothing"), maker.clip("", query=middle)])
        add(recognizer, [dataclasses.replace(maker.clip("", query=same.query), digest=same.digest)])
        found = [one for one in recognizer.diagnose().findings if one.kind == "negative-in-class"]
        numbers = [clip.id for clip in recognizer.gallery.negatives()]
    assert [(one.classes, one.clips[0]) for one in found] == [(("b",), numbers[1]), (("a",), numbers[2])]
    assert f"--negatives --clip {numbers[1]} " in found[0].commands[0]


def test_small_galleries_say_what_is_not_measurable(bundle: Path, gallery: Path, maker: Maker) -> None:
    with Recognizer.open(bundle, gallery, threads=1) as recognizer:
        assert kinds(recognizer.diagnose()) == ["empty"]
        add(recognizer, [maker.clip("a")])
        found = recognizer.diagnose()
        assert kinds(found) == ["one-clip", "no-limit"]
        assert "not measurable with one clip" in found.findings[0].message
        assert "one class, 'a'" in found.notes[0]
        assert found.clips[0].right is found.clips[0].distance is found.clips[0].nearest_other is None
        add(recognizer, [maker.clip("a") for _ in range(2)])
        found = recognizer.diagnose()
        assert kinds(found) == []  # the farthest own clip is the limit
        assert (found.tested, found.curve) == (0, ())
        assert all(clip.distance is not None and clip.right is None for clip in found.clips)
        recognizer.remove("a")
        assert kinds(recognizer.diagnose()) == ["empty"]
        add(recognizer, [maker.clip("a"), maker.clip("b")])
        found = recognizer.diagnose()
        assert kinds(found) == ["one-clip"]
        assert found.findings[0].classes == ("a", "b")
        assert "nothing was answered" in found.notes[0]


def test_limits_that_refuse_nothing_or_everything_are_found(bundle: Path, gallery: Path, maker: Maker) -> None:
    with Recognizer.open(bundle, gallery, threads=1) as recognizer:
        add(recognizer, [maker.clip(name) for name in ("loose", "tight", "stale", "good") for _ in range(3)])
        groups = recognizer.index.ready().groups
        graphs = graphs_key(recognizer.encoder)
        values = {"loose": 5.0, "tight": 0.001, "good": 0.5}
        limits = [ClassLimit(name, far, clips_key(groups[name]), graphs, "", {}) for name, far in values.items()]
        limits.append(ClassLimit("stale", 0.5, "other clips", graphs, "", {}))
        recognizer.gallery.keep_limits(limits)
        found = recognizer.diagnose()
        beyond = {one.name: one.beyond_limit for one in found.classes}
    assert [(one.kind, one.classes) for one in found.findings] == [
        ("loose-limit", ("loose",)),
        ("tight-limit", ("tight",)),
        ("stale-limit", ("stale",)),
    ]
    assert beyond == {"loose": 0, "tight": 3, "stale": 0, "good": 0}


def test_a_class_that_overflows_is_named(bundle: Path, gallery: Path, maker: Maker) -> None:
    import sqlite3

    with Recognizer.open(bundle, gallery, threads=1) as recognizer:
        add(recognizer, [maker.clip(name) for name in ("a", "b", "c") for _ in range(3)])
    connection = sqlite3.connect(gallery)
    with connection:
        huge = np.full((FRAMES, WIDTH), 1e38, np.float32).tobytes()
        connection.execute("UPDATE clips SET features = ? WHERE class = 'c'", (huge,))
        connection.execute("DELETE FROM prototypes")
    connection.close()
    with Recognizer.open(bundle, gallery, threads=1) as recognizer:
        found = recognizer.diagnose()
    assert [(one.kind, one.classes) for one in found.findings] == [("unusable", ("c",))]
    assert found.right == found.tested == 6


def test_answers_are_those_of_the_gallery_without_the_clip(tmp_path: Path, maker: Maker) -> None:
    """Also with names, which count in probabilities, and where several clips come out wrong."""
    bundle, names = write_bundle(tmp_path / "bundle"), ("red light", "green light", "a", "b")
    with Recognizer.open(bundle, tmp_path / "gallery.db", threads=1) as recognizer:
        clips = [maker.clip(name, "red light" if number == 2 else None) for name in names for number in range(4)]
        add(recognizer, clips)
        found = recognizer.diagnose()
        whole = recognizer.gallery.clips()
        assert found.right < found.tested == 16
        before = {one.id: _near(recognizer, [clip for clip in whole if clip.id != one.id], one) for one in whole}
        for report, clip in zip(found.clips, sorted(whole, key=lambda one: names.index(one.class_name)), strict=True):
            rest = [other for other in whole if other.id != clip.id]
            order, match = _matched(recognizer, rest, clip)
            assert report.id == clip.id
            assert report.answer == order[int(match.probabilities[0].argmax())]
            own = order.index(clip.class_name)
            assert report.distance == pytest.approx(float(match.distances[0, own]), abs=1e-5)
            others = np.delete(match.probabilities[0], own)
            assert report.margin == pytest.approx(float(match.probabilities[0, own] - others.max()), abs=1e-5)
            assert report.other_distance == pytest.approx(float(np.delete(match.distances[0], own).min()), abs=1e-5)
            after = {other.id: _near(recognizer, [one for one in rest if one.id != other.id], other) for other in rest}
            assert set(report.gains) == {one for one in after if after[one] and not before[one]}
            assert set(report.losses) == {one for one in after if before[one] and not after[one]}


def _matched(recognizer: Recognizer, clips: list[EnrolledClip], query: EnrolledClip) -> tuple[list[str], Match]:
    """The answer of a gallery of just these clips; the tiny bundle's prototypes are its features."""
    groups: dict[str, list[EnrolledClip]] = {}
    for clip in clips:
        groups.setdefault(clip.class_name, []).append(clip)
    prototypes = np.stack([np.mean([clip.features for clip in group], axis=0) for group in groups.values()])
    texts = [group[-1].text for group in groups.values()]
    text = np.stack([np.zeros(WIDTH, np.float32) if one is None else one for one in texts])
    has_text = np.array([one is not None for one in texts])
    return list(groups), recognizer.encoder.match(query.query[None], prototypes, text, has_text)


def _near(recognizer: Recognizer, clips: list[EnrolledClip], query: EnrolledClip) -> bool:
    names, match = _matched(recognizer, clips, query)
    return names[int(match.distances[0].argmin())] == query.class_name


def test_a_noisy_gallery_asks_for_more_clips_where_they_helped(bundle: Path, gallery: Path) -> None:
    maker = Maker(1)
    with Recognizer.open(bundle, gallery, threads=1) as recognizer:
        names = [f"class {number}" for number in range(30)]
        add(recognizer, [maker.clip(name, query=maker.query(name, noise=1.6)) for name in names for _ in range(4)])
        found = recognizer.diagnose()
    assert found.right < found.tested
    first, second = found.curve
    assert 0 < first.accuracy < first.accuracy_next == pytest.approx(second.accuracy)
    assert first.gain_interval is not None
    assert first.gain_interval[0] < first.gain < first.gain_interval[1]
    assert (first.tested, first.classes) == (120, 30)
    (finding,) = (one for one in found.findings if one.kind == "few-clips")
    assert "took the right answers from" in finding.message
    assert finding.figures["gain"] == second.gain > 0  # of four clips a third one is the last that can be measured


def test_a_model_that_tells_nothing_apart_accuses_no_clip(bundle: Path, gallery: Path) -> None:
    maker = Maker(3)
    with Recognizer.open(bundle, gallery, threads=1) as recognizer:
        names = [f"class {number}" for number in range(10)]
        add(recognizer, [maker.clip(name, query=maker.query(name, noise=20.0)) for name in names for _ in range(4)])
        found = recognizer.diagnose()
    assert found.right < found.tested / 2
    assert found.findings[0].kind == "unreliable"
    assert not {"misplaced", "harmful"} & set(kinds(found))


def test_everything_is_plain_json_and_commands_are_quoted(bundle: Path, gallery: Path, maker: Maker) -> None:
    names = ("it's", "-v", "two words", "a")
    with Recognizer.open(bundle, gallery, threads=1) as recognizer:
        add(recognizer, [maker.clip(name) for name in names for _ in range(4)])
        add(recognizer, [maker.clip("it's", "a"), maker.clip("-v", "a"), maker.clip("two words", "a")])
        calls: list[tuple[int, int]] = []
        found = recognizer.diagnose(progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 19) for done in range(1, 20)]
    facts = json.loads(json.dumps(found.facts(), allow_nan=False))
    assert (facts["schema"], facts["tested"], len(facts["clips"])) == (1, 19, 19)
    assert kinds(found) == ["misplaced"] * 3
    words = [shlex.split(one.commands[0]) for one in found.findings]
    clips = [str(one.clips[0]) for one in found.findings]
    assert words[0] == ["maclip-run", "gallery", "remove", "it's", "--clip", clips[0], "--gallery", str(gallery)]
    assert words[1] == ["maclip-run", "gallery", "remove", "--clip", clips[1], "--gallery", str(gallery), "--", "-v"]


def test_an_interval_of_a_mean_is_students() -> None:
    for values, half in (([0.0, 1.0], 6.353), ([1.0, 2.0, 3.0], 2.484), ([1.0, 2.0, 3.0, 4.0], 2.054)):
        low, high = mean_interval(values) or (0.0, 0.0)
        assert (high - low) / 2 == pytest.approx(half, rel=0.01)
        assert (high + low) / 2 == pytest.approx(np.mean(values))
    assert mean_interval([0.5]) is mean_interval([0.5, 0.5, 0.5]) is None
