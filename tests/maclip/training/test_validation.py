"""What validation is asked, and that data with hardly any classes for it is spoken of."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from test_trainer import CPU, MODEL, TRAIN, Silent, small, train

from maclip.evaluation.evaluator import Evaluator
from maclip.runs import Run
from maclip.training import api
from maclip_runtime.errors import MaclipError

__all__ = ["small"]  # the fixture that gives every test here the small backbone


@pytest.mark.parametrize(("dropout", "names"), [(1.0, "none"), (0.9, "own")])
def test_a_model_that_learns_without_names_is_chosen_without_them(drawn_data, tmp_path, monkeypatch, dropout, names):
    asked = []
    evaluate = Evaluator.evaluate

    def noting(self: Evaluator, *args: object) -> object:
        asked.append(self.support.names)
        return evaluate(self, *args)

    monkeypatch.setattr(Evaluator, "evaluate", noting)
    callbacks = train(drawn_data, tmp_path / "run", text_dropout=dropout)
    without = ["none"] if names == "own" else []  # whether names help is asked too
    assert asked == [names] * (len(callbacks.validations) + 1) + without  # on the way, and to choose at the end
    chosen = Run.open(tmp_path / "run").config.chosen
    assert chosen is not None
    if names == "none":
        assert chosen.fusion_weight == 0.0  # names would say nothing
        assert not chosen.names


@pytest.mark.parametrize(("own", "none", "names"), [(0.6, 0.5, True), (0.5, 0.5, False), (0.5, 0.6, False)])
def test_names_are_given_only_where_they_help_on_validation_classes(
    drawn_data, tmp_path, monkeypatch, own, none, names
):
    evaluate = Evaluator.evaluate

    def scored(self: Evaluator, *args: object):
        found = own if self.support.names == "own" else none
        result = evaluate(self, *args)
        return replace(result, accuracy=found, by_fusion_weight={one: found for one in result.by_fusion_weight})

    monkeypatch.setattr(Evaluator, "evaluate", scored)
    train(drawn_data, tmp_path / "run")
    config = Run.open(tmp_path / "run").config
    assert config.chosen is not None
    assert config.chosen.names == names
    assert config.chosen.accuracy == max(own, none)
    assert config.support_names == ("own" if names else "none")


def test_what_is_chosen_at_the_end_comes_from_the_episodes_that_are_named_and_picked_no_state(
    drawn_data, tmp_path, monkeypatch
):
    asked = []
    outcomes = Evaluator.outcomes

    def noting(self: Evaluator, way: int, shot: int, episodes: int, seed: int, *rest: object, **others: object):
        asked.append((self.names, way, shot, episodes, seed))
        return outcomes(self, way, shot, episodes, seed, *rest, **others)

    monkeypatch.setattr(Evaluator, "outcomes", noting)
    callbacks = train(drawn_data, tmp_path / "run", prototype_episodes=0, episodes=4, validations=2)
    count = len(callbacks.validations)
    on_the_way, (*strangers, weight, without, unknown) = asked[:count], asked[count:]
    assert count == 2
    assert set(strangers) == {weight}  # three clips a class allow no other number of shots
    assert weight == without == unknown
    names, way, shot, episodes, seed = weight
    assert seed not in {row[-1] for row in on_the_way}
    config = Run.open(tmp_path / "run").config
    assert config.chosen is not None
    assert config.chosen.limit is not None
    assert names == config.names.val
    assert config.chosen.measured_on == f"validation classes, {way}-way {shot}-shot, {episodes} episodes"
    assert config.chosen.limit.measured_on.startswith(config.chosen.measured_on)


def held_out(drawn_data: Path, data: Path, classes: int) -> Path:
    """The drawn clips with so many validation classes."""
    shutil.copytree(drawn_data, data)
    listed = json.loads((data / "classes.json").read_text())
    held = [entry for entry in listed["classes"].values() if entry["split"] == "val"]
    for entry in held[classes:]:
        entry["split"] = "test"
    (data / "classes.json").write_text(json.dumps(listed))
    return data


def test_two_validation_classes_are_enough_and_fewer_are_spoken_of(drawn_data, tmp_path):
    notes: list[str] = []

    class Listening(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    train(held_out(drawn_data, tmp_path / "two", 2), tmp_path / "run", Listening())
    chosen = Run.open(tmp_path / "run").config.chosen
    assert chosen is not None
    assert chosen.measured_on.startswith("validation classes, 2-way 1-shot")
    assert not any("last weights are kept" in note for note in notes)
    train(held_out(drawn_data, tmp_path / "one", 1), tmp_path / "last", Listening())
    assert any("the last weights are kept, not the best" in note for note in notes)
    assert "training classes" in str(Run.open(tmp_path / "last").config.chosen)


def test_broken_clips_that_leave_no_two_classes_to_ask_end_training(drawn_data, tmp_path):
    data = shutil.copytree(drawn_data, tmp_path / "data")
    listed = json.loads((data / "classes.json").read_text())["classes"]
    _, *rest = (folder for folder, entry in listed.items() if entry["split"] == "val")
    for folder in rest:
        for clip in sorted((data / folder).iterdir())[1:]:
            clip.write_bytes(b"")
    config = TRAIN.changed(prototype_episodes=0, episodes=2, validations=1)
    with pytest.raises(MaclipError, match="no two classes with two clips") as refused:
        api.train_new(data, tmp_path / "run", "small", "none", MODEL, config, machine=CPU.changed(max_broken=1.0))
    assert refused.value.code == "data-broken"


def test_the_interval_of_a_validation_is_of_the_weight_of_its_accuracy(drawn_data, tmp_path, monkeypatch):
    results = []
    evaluate = Evaluator.evaluate

    def noting(self, *args, **options):
        found = evaluate(self, *args, **options)
        by_weight = dict.fromkeys(found.by_fusion_weight, 0.1) | {"0.2": 0.9}
        intervals = {weight: 0.5 + i / 100 for i, weight in enumerate(found.interval_by_fusion_weight)}
        results.append(replace(found, by_fusion_weight=by_weight, interval_by_fusion_weight=intervals))
        return results[-1]

    monkeypatch.setattr(Evaluator, "evaluate", noting)
    callbacks = Intervals()
    train(drawn_data, tmp_path / "run", callbacks, prototype_episodes=0, episodes=2, validations=1)
    assert callbacks.found == [(0.9, results[0].interval_by_fusion_weight["0.2"])]


class Intervals(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[float, float]] = []

    def validated(self, stage: str, episode: int, accuracy: float, interval: float) -> None:
        self.found.append((accuracy, interval))
