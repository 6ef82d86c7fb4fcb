"""The shipped runs: what is in the package, and the command that makes it, at its smallest size."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("open_clip")

import torch
from few_classes import draw_few
from made_once import Once
from safetensors.torch import load_file, save_file

from maclip.config import ModelConfig, TrainConfig
from maclip.runs import COHORT_FILE, Run
from maclip.shipped import ADAPTERS_ONLY, FOLDER, FULL, LADDER, PROTOTYPE_ONLY, SHIPPED, read_card, shipped_run
from maclip.shipped.measure import WATCHED
from maclip.shipped.pack import MAX_BYTES, TIME_FILE, pack, require_recipe
from maclip.shipped.settings import RECIPE, Recipe, RunPlan
from maclip.shipped.train import reproduce
from maclip_runtime.errors import MaclipError

MODEL = ModelConfig.of(open_set_weight=0.5)
TRAIN = TrainConfig.of(way=4, accumulate=1, views=1, validations=1, validation_episodes=10, streams="stitch")
SMALLEST = Recipe(
    runs=(
        RunPlan(PROTOTYPE_ONLY, MODEL.changed(adapters="none"), TRAIN.changed(episodes=0, prototype_episodes=2)),
        RunPlan(
            FULL, MODEL.changed(adapters="blocks", adapted_depth=1), TRAIN.changed(episodes=2), init=PROTOTYPE_ONLY
        ),
        RunPlan(
            ADAPTERS_ONLY,
            MODEL.changed(adapters="blocks", adapted_depth=1, prototype="none"),
            TRAIN.changed(episodes=2),
        ),
        RunPlan(LADDER, MODEL.changed(adapters="ladder"), TRAIN.changed(episodes=2), init=PROTOTYPE_ONLY),
    ),
    clips={"train": 2, "val": 2, "test": 6},
    streams=1,
    actions=6,
    held_out=1,
    test_episodes=10,
    galleries=2,
    gallery_shots=1,
)


@pytest.fixture(scope="module")
def made(once: Once) -> Path:
    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            draw_few(patch)
            reproduce(folder, folder / "packed", SMALLEST)

    return once("shipped", make)


@pytest.mark.long
def test_one_command_draws_trains_and_packs(made: Path) -> None:
    packed = made / "packed"
    card = json.loads((packed / "model_card.json").read_text())
    assert set(card["runs"]) == set(SHIPPED)
    assert card["exported"] in (LADDER, FULL, PROTOTYPE_ONLY)
    for name in SHIPPED:
        run = Run.open(packed / name)
        assert card["runs"][name]["adapters_sha256"] == run.adapters_sha256
        model, full = run.model(), load_file(made / name / "adapters.safetensors")
        assert model.tuned_state().keys() == full.keys()
        for key, value in load_file(run.adapters).items():
            torch.testing.assert_close(value.float(), full[key], rtol=1e-3, atol=1e-4)
        chosen = run.config.chosen
        assert chosen is not None
        assert (model.cohort is not None) == (chosen.cohort is not None)
        assert (run.path / COHORT_FILE).exists() == (chosen.cohort is not None)
        if model.cohort is not None:
            cohort = load_file(made / name / COHORT_FILE)["prototypes"]
            torch.testing.assert_close(model.cohort.prototypes, cohort, rtol=1e-3, atol=1e-3)
    assert Run.open(packed / FULL).config.init.run == PROTOTYPE_ONLY  # type: ignore[union-attr]
    text = (packed / "model_card.md").read_text()
    assert "| full: TPCM and adapters, last block | TPCM only | 2 |" in text
    assert "| ladder: TPCM and a side network | TPCM only | 2 |" in text
    exported = max(WATCHED, key=lambda name: card["runs"][name]["streams"]["val"]["f1"] or 0)
    assert card["exported"] == exported


def test_what_is_finished_is_kept(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maclip.shipped.train.train_new", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr("maclip.shipped.train.write_clips", lambda *_, **__: pytest.fail("drawn again"))
    monkeypatch.setattr("maclip.shipped.train.pack", lambda out, **_: {"out": out})
    assert reproduce(made, made / "packed", SMALLEST) == {"out": made}


def test_a_packed_run_names_no_path_of_the_machine(made: Path) -> None:
    for folder in (made / "packed", FOLDER):
        for name in SHIPPED:
            text = (folder / name / "config.json").read_text()
            assert str(made) not in text
            assert '"/' not in text


def test_runs_of_other_settings_and_untrained_ones_are_refused(made: Path, tmp_path: Path) -> None:
    other = replace(SMALLEST.runs[1], train=SMALLEST.runs[1].train.changed(learning_rate=0.1))
    with pytest.raises(MaclipError, match="learning_rate") as refused:
        require_recipe(Run.open(made / FULL), other)
    assert refused.value.code == "recipe-differs"
    with pytest.raises(MaclipError, match="init"):
        require_recipe(Run.open(made / FULL), replace(SMALLEST.runs[1], init=None))
    untrained = tmp_path / FULL
    shutil.copytree(made / FULL, untrained)
    state = load_file(untrained / "adapters.safetensors")
    zeros = {key: value * 0 for key, value in state.items() if key.endswith(".up.weight")}
    save_file(state | zeros, untrained / "adapters.safetensors")
    with pytest.raises(MaclipError) as refused:
        pack(made, runs={FULL: untrained}, target=tmp_path / "packed", recipe=SMALLEST)
    assert refused.value.code == "adapters-untrained"
    assert not (tmp_path / "packed").exists()


def test_what_cannot_be_packed_is_said(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**choices: object) -> str:
        with pytest.raises(MaclipError) as caught:
            pack(made, target=tmp_path / "packed", recipe=SMALLEST, **choices)  # type: ignore[arg-type]
        return caught.value.code

    copy = tmp_path / FULL
    shutil.copytree(made / FULL, copy)
    (copy / TIME_FILE).unlink()
    assert refused(runs={FULL: copy}) == "hours-unknown"
    config = json.loads((copy / "config.json").read_text())
    config["backbone"]["pretrained"] = "/home/someone/clip.pt"
    (copy / "config.json").write_text(json.dumps(config))
    assert refused(runs={FULL: copy}, hours={FULL: 1.0}) == "path-private"
    monkeypatch.setattr("maclip.shipped.pack.MAX_BYTES", 10)
    assert refused() == "shipped-too-large"


def test_the_package_holds_trained_runs_of_the_recipe() -> None:
    card = read_card()
    assert card["exported"] in (LADDER, FULL, PROTOTYPE_ONLY)
    assert sum(file.stat().st_size for name in SHIPPED for file in shipped_run(name).iterdir()) <= MAX_BYTES
    for plan in RECIPE.runs:
        run = Run.open(shipped_run(plan.name))
        require_recipe(run, plan)
        assert run.adapters_sha256 == card["runs"][plan.name]["adapters_sha256"]
        if plan.name != PROTOTYPE_ONLY:
            run.require_trained_adapters()
