"""Which clips an export is tried on: given ones, the run's own or generated ones. What is not needed stays closed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from videos import color_video

import maclip
from maclip.data.dataset import Dataset, open_folders
from maclip.data.opening import open_data
from maclip.data.split_lists import SplitLists
from maclip.model.maclip import MaClip
from maclip_export.gate.choice import choose_clips
from maclip_export.gate.trial import TrialClips
from maclip_export.options import ExportOptions
from maclip_runtime.errors import MaclipError

COLORS = {"red": "red", "green": "green", "blue": "blue", "mixed": "red"}
STATIC = ExportOptions(precision="int8", quantization="static", gate_clips=2)


@pytest.fixture(scope="module")
def model() -> MaClip:
    return maclip.build("tiny", "none", adapters="blocks", adapted_depth=1, frames=2)


@pytest.fixture(scope="module")
def plain() -> MaClip:
    return maclip.build("tiny", "none", adapters="none", prototype="none", frames=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of two clips."""
    root = tmp_path_factory.mktemp("choice") / "data"
    for name, color in COLORS.items():
        (root / name).mkdir(parents=True)
        for clip in range(2):
            color_video(root / name / f"{clip}.mp4", [(color, 1.0)], seed=clip)
    return root


def unneeded() -> Dataset:
    pytest.fail("the run's data were opened")


def gone() -> Dataset:
    return open_folders(Path("/nowhere/clips"))


def same(a: TrialClips, b: TrialClips) -> bool:
    return torch.equal(a.frames, b.frames) and a.names == b.names


def test_the_runs_own_clips_are_taken_as_training_divided_them(data: Path, model: MaClip, tmp_path: Path):
    """Lists say what is training's: a gate that took the folders for classes would try it on what it has learnt."""
    for split, names in {"train": ("red", "green"), "test": ("blue", "mixed")}.items():
        (tmp_path / f"{split}.txt").write_text("".join(f"{name}/{clip}\n" for name in names for clip in (0, 1)))
    own = partial(open_data, data, SplitLists(str(tmp_path)))
    assert choose_clips(model, ExportOptions(), own).gate.names == ("blue", "mixed")
    with pytest.raises(MaclipError) as caught:  # four clips of the training's classes
        choose_clips(model, STATIC, own)
    assert caught.value.code == "calibration-too-small"
    assert "has 4 clips" in caught.value.message


@pytest.mark.parametrize("own", [unneeded, None])
def test_with_clips_given_the_runs_data_are_not_opened(data: Path, model: MaClip, own: Callable[[], Dataset] | None):
    chosen = choose_clips(model, ExportOptions(gate_data=data, gate_clips=2), own)
    assert chosen.gate.source == "8 clips of 4 classes of data"
    assert (chosen.calibration, chosen.notes) == (None, ())
    both = choose_clips(
        model, ExportOptions(precision="int8", gate_data=data, gate_clips=2, calibration_data=open_folders(data)), own
    )
    assert both.calibration is not None
    assert same(both.calibration, both.gate)


def test_a_run_whose_data_are_gone_is_tried_on_generated_clips_and_says_so(model: MaClip):
    chosen = choose_clips(model, ExportOptions(gate_clips=2), gone)
    assert chosen.gate.source == "generated clips"
    assert chosen.gate.sizes() == 8 * [2]
    (note,) = chosen.notes
    assert (
        note == "The run's own clips cannot be opened, so generated ones were used: There is no folder /nowhere/clips."
    )
    calibrated = choose_clips(model, STATIC, gone)
    assert calibrated.calibration is not None
    assert not same(calibrated.calibration, calibrated.gate)


def test_int8_of_a_run_whose_data_are_gone_is_calibrated_on_the_gates_clips_and_says_so(data: Path, model: MaClip):
    chosen = choose_clips(model, ExportOptions(precision="int8", gate_data=str(data), gate_clips=2), gone)
    assert chosen.calibration is not None
    assert same(chosen.calibration, chosen.gate)
    assert "so int8 was calibrated on the gate's: There is no folder" in chosen.notes[0]


def test_accuracy_of_plain_clip_is_not_compared_on_generated_clips(data: Path, model: MaClip, plain: MaClip):
    """In float32 alone: fewer bits change plain CLIP's answers too. The graphs see the same clips in any case."""
    chosen = choose_clips(plain, ExportOptions(), None)
    assert chosen.gate.sizes() == [1, 1, 1, 1]
    assert chosen.notes[0].startswith("Accuracy was not compared: nothing is trained")
    half = choose_clips(plain, ExportOptions(precision="fp16"), None)
    assert half.gate.sizes() == 8 * [4]
    assert half.notes == ()
    assert torch.equal(chosen.gate.first_of_each(4), half.gate.first_of_each(4))
    assert choose_clips(model, ExportOptions(), None).gate.sizes() == 8 * [4]
    assert choose_clips(plain, ExportOptions(gate_data=data, gate_clips=2), None).gate.sizes() == 4 * [2]


def test_too_few_clips_to_compare_accuracy_on_are_told(tmp_path: Path, model: MaClip):
    for name, clips in (("red", 1), ("green", 2)):
        (tmp_path / name).mkdir()
        for clip in range(clips):
            color_video(tmp_path / name / f"{clip}.mp4", [(name, 1.0)], seed=clip)
    (note,) = choose_clips(model, ExportOptions(gate_data=tmp_path), None).notes
    assert note == "Accuracy was not compared: that takes two classes with two readable clips each."
