"""The drawn world: shapes, captions, motions, and the clips written from them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from maclip.world import captions, phrases
from maclip.world.actors import Cast
from maclip.world.classes import FAMILIES, OBJECTS, classes
from maclip.world.clips import CLIP_SIZE, FRAMES, MOTIONS, RATE, clip_frames
from maclip.world.compositions import COMPOSITIONS
from maclip.world.motions import Script
from maclip.world.scenes import FACT_INDEX, FACT_IS_PLACE, Scene, make_thing, random_scene, render_scene
from maclip.world.shapes import COLOURS, KINDS, SIZES, Shape, View, draw
from maclip.world.synth import long_video, run_jobs, write_clips
from maclip_runtime.errors import MaclipError


def _drawn(kind: str, rotation: float = 0.0) -> np.ndarray:
    canvas = np.zeros((64, 64, 3), np.float32)
    draw(canvas, View(64), Shape(kind, (255, 255, 255), 0.5, 0.5, 0.3, rotation))
    return canvas[..., 0]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_drawn_about_its_centre_at_its_size(kind: str) -> None:
    rows, columns = np.nonzero(_drawn(kind) > 60)
    assert 0.3 * 64 < np.ptp(rows) < 0.75 * 64
    assert abs((rows.max() + rows.min()) / 2 - 31.5) < 8
    assert abs((columns.max() + columns.min()) / 2 - 31.5) < 8


def test_kinds_differ_from_each_other() -> None:
    drawn = [_drawn(kind) > 60 for kind in KINDS]
    for i, first in enumerate(drawn):
        for second in drawn[:i]:
            assert (first ^ second).sum() > 0.15 * min(first.sum(), second.sum())


def test_rotation_is_clockwise_as_seen() -> None:
    # The triangle's tip points up; a quarter turn clockwise points it to the right.
    columns = np.nonzero(_drawn("triangle", np.pi / 2) > 60)[1]
    assert columns.max() - 31.5 > 31.5 - columns.min() + 5


def test_scene_is_the_same_for_the_same_generator() -> None:
    first, second, other = (
        render_scene(random_scene(rng), rng) for rng in (np.random.default_rng(seed) for seed in (4, 4, 5))
    )
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_captions_claim_only_what_is_true_and_use_known_words() -> None:
    rng, known = np.random.default_rng(0), set(captions.words())
    for _ in range(400):
        scene = random_scene(rng)
        facts = scene.facts()
        said = captions.caption(scene, rng)
        assert set(said.text.split()) <= known
        for claim in (FACT_INDEX[name] for name in said.claims if name != captions.RELATION):
            # A shape between places is a quarter at each at least; all else is true or false.
            assert facts[claim] >= (63 if FACT_IS_PLACE[claim] else 255)


def test_captions_without_positions_never_say_where() -> None:
    rng = np.random.default_rng(1)
    where = {"left", "right", "top", "bottom", "center", "above", "below"}
    told = [captions.caption(random_scene(rng), rng).text.split() for _ in range(200)]
    untold = [captions.caption(random_scene(rng), rng, positions=False).text.split() for _ in range(200)]
    assert any(where & set(words) for words in told)
    assert not any(where & set(words) for words in untold)


def test_a_thing_knows_its_place() -> None:
    thing = make_thing(np.random.default_rng(0), "star", "red", "small")
    assert SIZES["small"][0] <= thing.shape.radius <= SIZES["small"][1]
    weights = thing.place_weights()
    assert sum(weights.values()) == pytest.approx(1)
    assert max(weights.values()) >= 0.25
    assert Scene((thing,)).facts()[FACT_INDEX["red star"]] == 255


def test_every_motion_has_a_phrase_and_moves_but_for_standing_still() -> None:
    composed = [one.phrase.format(shape="a shape") for one in COMPOSITIONS.values()]
    assert set(MOTIONS) == {*phrases.MOTION_PHRASES, *COMPOSITIONS}
    assert len({*phrases.plain_phrases(), *composed}) == len(MOTIONS)
    # The small CLIP's vocabulary holds every word as one token.
    assert {word for phrase in composed for word in phrase.split()} <= set(phrases.words())
    for index, name in enumerate(MOTIONS):
        rng = np.random.default_rng([9, index])
        script = MOTIONS[name](rng, Cast())
        seen = [script(time) for time in np.linspace(0, 1, 9)]
        assert (len(set(seen)) > 1) == (name != "still"), name


def _first_shapes(name: str, clips: int, times: np.ndarray) -> np.ndarray:
    """x and y of the first shape, [clips, times, 2]."""
    scripts: list[Script] = [MOTIONS[name](np.random.default_rng([5, i]), Cast()) for i in range(clips)]
    return np.array([[(s(t).shapes[0].x, s(t).shapes[0].y) for t in times] for s in scripts])


@pytest.mark.parametrize(("name", "axis", "sign"), [("right", 0, 1), ("left", 0, -1), ("up", 1, -1), ("down", 1, 1)])
def test_translations_go_the_way_they_say(name: str, axis: int, sign: int) -> None:
    places = _first_shapes(name, 30, np.array([0.0, 1.0]))
    travelled = places[:, 1] - places[:, 0]
    assert (sign * travelled[:, axis] > 0.24).all()
    assert (np.abs(travelled[:, 1 - axis]) < 1e-9).all()


@pytest.mark.parametrize(("name", "sign"), [("clockwise", 1), ("counterclockwise", -1)])
def test_circling_goes_the_way_it_says(name: str, sign: int) -> None:
    places = _first_shapes(name, 20, np.linspace(0.3, 0.7, 9))
    steps = np.diff(places, axis=1)
    # With y down, a positive cross product of successive steps turns clockwise as seen.
    cross = steps[:, :-1, 0] * steps[:, 1:, 1] - steps[:, :-1, 1] * steps[:, 1:, 0]
    assert (sign * cross > 0).all()


@pytest.mark.parametrize(("one", "other"), [("right", "left"), ("up", "down"), ("grow", "shrink")])
def test_a_single_frame_does_not_tell_a_motion_from_its_reverse(one: str, other: str) -> None:
    def middle(name: str) -> np.ndarray:
        scripts = [MOTIONS[name](np.random.default_rng([6, i]), Cast()) for i in range(400)]
        shapes = [script(float(t)).shapes[0] for script, t in zip(scripts, np.linspace(0, 1, 400), strict=True)]
        return np.array([[shape.x, shape.y, shape.radius] for shape in shapes])

    a, b = middle(one), middle(other)
    # Over the whole clip the two leave the same marks: means within a few standard errors.
    error = np.sqrt(a.var(0) / 400 + b.var(0) / 400)
    assert (np.abs(a.mean(0) - b.mean(0)) < 4.5 * error + 0.01).all()


def test_shapes_stay_in_the_picture() -> None:
    for index, name in enumerate(MOTIONS):
        for seed in range(8):
            script = MOTIONS[name](np.random.default_rng([seed, index]), Cast())
            for time in np.linspace(0, 1, 8):
                for shape in script(time).shapes:
                    assert -0.08 < shape.x < 1.08, name
                    assert -0.08 < shape.y < 1.08, name


def test_clip_frames_are_reproducible_and_the_camera_is_not_steady() -> None:
    first = np.stack(list(clip_frames("still", np.random.default_rng(2))))
    again = np.stack(list(clip_frames("still", np.random.default_rng(2))))
    assert first.shape == (FRAMES, CLIP_SIZE, CLIP_SIZE, 3)
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[-1]).mean() > 0.05


@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_large_enough_and_their_splits_disjoint(family: str) -> None:
    every = classes(family)  # type: ignore[arg-type]
    count = {split: sum(one.split == split for one in every) for split in ("train", "val", "test")}
    assert count["train"] >= 24
    assert count["val"] >= 8
    assert count["test"] >= 12
    assert len({one.slug for one in every}) == len({one.name for one in every}) == len(every)
    assert len({one.seed for one in every}) == len(every)
    reshuffled = classes(family, split_seed=3)  # type: ignore[arg-type]
    assert [one.slug for one in reshuffled] == [one.slug for one in every]
    assert [one.split for one in reshuffled] != [one.split for one in every]
    assert sum(one.split == "test" for one in reshuffled) == count["test"]


def test_held_out_motions_come_with_their_reverse() -> None:
    reverse = {"right": "left", "grow": "shrink", "clockwise": "counterclockwise", "approach": "part"}
    reverse |= {"cover": "uncover", "right-then-down": "down-then-right"}
    test = {one.motion for one in classes("motion") if one.split == "test"}
    assert test == set(reverse) | set(reverse.values())


def test_compositions_are_for_training_whatever_the_split() -> None:
    plain = {one.motion: one for one in classes("motion", composed=False)}
    assert sum(one.split == "train" for one in classes("motion")) >= 150
    for split_seed in (None, 1, 2):
        every = classes("motion", split_seed)
        assert {one.split for one in every if one.motion in COMPOSITIONS} == {"train"}
        assert [one for one in every if one.motion in plain] == classes("motion", split_seed, composed=False)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("up-then-grow", [("y", -1), ("radius", 1)]),
        ("shrink-then-left", [("radius", -1), ("x", -1)]),
        ("right-then-spin-clockwise", [("x", 1), ("rotation", 1)]),
    ],
)
def test_a_sequence_does_one_thing_after_the_other(name: str, changes: list[tuple[str, int]]) -> None:
    for seed in range(10):
        script = MOTIONS[name](np.random.default_rng(seed), Cast())
        begins, middle, ends = (script(time).shapes[0] for time in (0.0, 0.44, 1.0))
        (first, sign), (second, other) = changes
        early = getattr(middle, first) - getattr(begins, first)
        late = getattr(ends, first) - getattr(middle, first)
        assert sign * early > abs(late)
        assert other * (getattr(ends, second) - getattr(middle, second)) > 0
        assert abs(getattr(middle, second) - getattr(begins, second)) < abs(
            getattr(ends, second) - getattr(middle, second)
        )


def test_two_things_at_once_go_the_way_they_say() -> None:
    for name, across, larger in (("right-while-grow", 1, 1), ("left-while-shrink", -1, -1)):
        for seed in range(6):
            script = MOTIONS[name](np.random.default_rng(seed), Cast())
            begins, half, ends = (script(time).shapes[0] for time in (0.0, 0.5, 1.0))
            assert across * begins.x < across * half.x < across * ends.x
            assert larger * begins.radius < larger * half.radius < larger * ends.radius


def test_two_shapes_take_turns_or_move_at_once() -> None:
    for name, in_turn in (("one-up-then-another-down", True), ("one-right-while-another-up", False)):
        for seed in range(6):
            script = MOTIONS[name](np.random.default_rng(seed), Cast())
            starts, half, ends = (script(time).shapes for time in (0.0, 0.35, 1.0))
            moved = [
                sum(abs(getattr(b, axis) - getattr(a, axis)) for axis in "xy") > 0.02
                for a, b in zip(starts, half, strict=True)
            ]
            assert sum(moved) == (1 if in_turn else 2)
            assert all((a.x, a.y) != (b.x, b.y) for a, b in zip(starts, ends, strict=True))


def _vivid_shapes(frame: np.ndarray) -> float:
    """How much of a picture is vividly coloured, as shapes are and backgrounds and grey distractors are not."""
    spread = frame.max(axis=-1).astype(int) - frame.min(axis=-1)
    return float((spread > 120).mean())


def test_the_number_of_coloured_shapes_does_not_tell_a_motion_of_one_from_a_motion_of_two() -> None:
    def vivid(motion: str) -> np.ndarray:
        clips = [next(clip_frames(motion, np.random.default_rng([9, i]))) for i in range(60)]
        return np.array([_vivid_shapes(frame) for frame in clips])

    one, two = vivid("right"), vivid("approach")
    # Some clips of one actor show more colour than the median clip of two, thanks to those that stand by.
    assert (one > np.median(two)).mean() > 0.1


def test_object_motion_test_classes_join_objects_and_motions_seen_apart() -> None:
    every = classes("object-motion")
    train = [one for one in every if one.split == "train"]
    test = [one for one in every if one.split == "test"]
    assert {one.motion for one in test} <= {one.motion for one in train}
    assert {one.cast for one in test} <= {one.cast for one in train}
    assert not {(one.cast, one.motion) for one in test} & {(one.cast, one.motion) for one in train}
    # Neither the object nor the motion alone settles a test class.
    assert len({one.cast for one in test}) < len(test)
    assert len({one.motion for one in test}) < len(test)
    assert all(colour in COLOURS and kind in KINDS for colour, kind in OBJECTS)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_written_clips_are_reproducible_and_described(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    counts = {"val": 1, "test": 2}
    write_clips(tmp_path / "a", "motion", counts, seed=7, splits=("val",), progress=lambda *args: done.append(args))
    write_clips(tmp_path / "b", "motion", counts, seed=7, workers=2, splits=("val",))
    write_clips(tmp_path / "c", "motion", 1, seed=8, splits=("val",))
    first = _files(tmp_path / "a")
    assert first == _files(tmp_path / "b")
    assert first != _files(tmp_path / "c")
    assert done == [(i + 1, 8) for i in range(8)]
    described = json.loads(first["classes.json"])
    assert described["format"] == 1
    assert described["family"] == "motion"
    assert described["seed"] == 7
    assert described["classes"]["moving-a-shape-to-the-top-right"] == {
        "name": "moving a shape to the top right",
        "split": "val",
        "mirror": False,
    }
    assert {name.split("/")[0] for name in first if name.endswith(".mp4")} == set(described["classes"])
    with av.open(str(tmp_path / "a" / "moving-a-shape-to-the-top-right" / "000.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height) == (CLIP_SIZE, CLIP_SIZE)
        assert stream.average_rate == RATE
        assert sum(1 for _ in container.decode(stream)) == FRAMES


def test_written_video_looks_as_drawn(tmp_path: Path) -> None:
    write_clips(tmp_path / "a", "object-motion", 1, seed=1, splits=("val",))
    one = next(c for c in classes("object-motion") if c.split == "val")
    drawn = np.stack(list(clip_frames(one.motion, np.random.default_rng((1, 1, one.seed, 0)), one.cast)))
    with av.open(str(tmp_path / "a" / one.slug / "000.mp4")) as container:
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert np.abs(drawn.astype(int) - decoded.astype(int)).mean() < 10


def test_clips_are_not_written_over_anything(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(MaclipError) as caught:
        write_clips(tmp_path, "motion", 1)
    assert caught.value.code == "output-exists"
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(MaclipError) as caught:
        write_clips(tmp_path / "mine" / "below", "motion", 1)
    assert caught.value.code == "output-unwritable"


def test_long_video_says_what_happens_when(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    segments = long_video(path, "motion", ["moving a shape up", "a-shape-growing"], seed=2)
    assert [segment.name for segment in segments] == ["moving a shape up", "a shape growing"]
    assert all(s.end_s - s.start_s == pytest.approx(FRAMES / RATE) for s in segments)
    assert 1 <= segments[1].start_s - segments[0].end_s <= 2
    assert json.loads(path.with_suffix(".json").read_text())[1]["start_s"] == segments[1].start_s
    with av.open(str(path)) as container:
        seconds = sum(1 for _ in container.decode(video=0)) / RATE
    assert segments[1].end_s + 1 <= seconds <= segments[1].end_s + 2
    with pytest.raises(MaclipError) as caught:
        long_video(tmp_path / "other.mp4", "motion", ["dancing"])
    assert caught.value.code == "class-unknown"


def die(job: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_is_said_and_ends_the_work() -> None:
    with pytest.raises(MaclipError) as refused:
        list(run_jobs(die, [0, 1, 2], workers=2))
    assert refused.value.code == "process-died"
    assert "__main__" in refused.value.fix


def test_a_script_without_a_main_guard_ends() -> None:
    script = "from maclip.world.synth import run_jobs; list(run_jobs(print, [1, 2], workers=2))"
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, timeout=60)
    assert done.returncode
    assert "__main__" in done.stderr
