"""The API for research: models by name, from memory and from runs; datasets as objects and as paths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from small_data import CPU, Listener, write_classes

import maclip
from maclip import ablation
from maclip.config import EvaluationConfig, ModelConfig, TrainConfig
from maclip.evaluation.record import read_record
from maclip.tiny import MODEL_NAME, tokenizer
from maclip.training import choosing
from maclip.training.api import train_new
from maclip_runtime.errors import MaclipError

MODEL = ModelConfig.of(adapters="blocks", adapted_depth=1, frames=4)
TRAIN = TrainConfig.of(
    way=3, episodes=2, prototype_episodes=2, accumulate=1, views=1, validations=1, learning_rate=0.01
)
ASKED = EvaluationConfig.of(way=3, episodes=20)
CLIPS = torch.randint(0, 256, (2, 4, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "CHOOSING_EPISODES", 20)
    monkeypatch.setattr(ablation, "CHOOSING_EPISODES", 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of coloured clips, three each, in each split."""
    root = tmp_path_factory.mktemp("splits")
    for split in ("train", "val", "test"):
        write_classes(root / split, 3)
        for colour in sorted((root / split).iterdir()):
            colour.rename(colour.with_name(f"{colour.name} {split}"))
    return root


def same(one: maclip.MaClip, other: maclip.MaClip) -> None:
    """They compute the same numbers of clips and names."""
    names = ["red", "a name that nobody trained with"]
    text = one.encode_names(names)
    assert torch.equal(text, other.encode_names(names))
    with torch.no_grad():
        for mine in (None, text):
            assert torch.equal(one.features(CLIPS, mine), other.features(CLIPS, mine))
            found = (model.prototypes(model.features(CLIPS, mine), mine) for model in (one, other))
            assert torch.equal(*found)
        assert one.scale == other.scale
    assert one.config == other.config


def test_a_clip_in_memory_becomes_the_model_that_its_name_gives():
    clip, _, preprocess = open_clip.create_model_and_transforms(MODEL_NAME)
    torch.manual_seed(0)
    wrapped = maclip.wrap(clip, tokenizer(), preprocess, config=MODEL, name="mine")
    torch.manual_seed(0)
    built = maclip.build("tiny", config=MODEL)
    same(wrapped, built)
    assert wrapped.backbone.sha256 == built.backbone.sha256
    assert wrapped.backbone.preprocess == built.backbone.preprocess
    assert (
        maclip.wrap(clip, tokenizer(), adapters="blocks", adapted_depth=1).backbone.preprocess
        == built.backbone.preprocess
    )
    assert wrapped.backbone.name == "mine"
    assert not wrapped.training
    assert not any(parameter.requires_grad for parameter in clip.parameters())


def test_a_model_that_adapters_do_not_fit_is_refused():
    clip = open_clip.create_model("RN50", pretrained=None)
    with pytest.raises(MaclipError, match="cannot be adapted") as caught:
        maclip.wrap(clip, tokenizer(), adapters="blocks")
    assert caught.value.code == "backbone-unsupported"
    assert maclip.wrap(clip, tokenizer()).side is not None


def test_by_default_it_has_a_ladder_and_untrained_it_is_frozen_clip():
    model, frozen = maclip.build("tiny"), maclip.build("tiny", adapters="none", prototype="none")
    assert maclip.ModelConfig().adapters.kind == model.config.adapters.kind == "ladder"
    assert model.side is not None
    assert sum(p.numel() for p in model.side.parameters()) > 0
    clips = CLIPS.repeat(1, 2, 1, 1, 1)
    with torch.no_grad():
        for text in (None, model.encode_names(["red", "green"])):
            assert torch.equal(model.features(clips, text), frozen.features(clips, text))


def test_an_option_of_the_papers_adapters_alone_says_what_to_add(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("maclip.building.load_backbone", None)  # refused before anything is loaded
    monkeypatch.setattr("maclip.training.api.load_backbone", None)
    with pytest.raises(MaclipError, match="--adapted-depth is an option of adapters in the blocks") as caught:
        maclip.build("tiny", adapted_depth=4)
    assert caught.value.code == "option-invalid"
    assert caught.value.fix == "Add --adapters blocks, or leave out --adapted-depth."
    with pytest.raises(MaclipError, match="--joint-scale") as caught:
        train_new(folder, tmp_path / "run", "tiny", "tiny", maclip.ModelConfig.of(joint_scale=1.0), TRAIN)
    assert caught.value.code == "option-invalid"
    assert not (tmp_path / "run").exists()


def test_options_and_a_configuration_build_the_same():
    assert maclip.build("tiny", adapters="blocks", adapted_depth=1, frames=4).config == MODEL
    assert maclip.build("tiny", config=MODEL, metric="mean").config == MODEL.changed(metric="mean")
    with pytest.raises(MaclipError, match="'adaptd_depth'") as caught:
        maclip.build("tiny", adaptd_depth=1)
    assert caught.value.code == "option-invalid"


@pytest.mark.parametrize("as_object", [True, False])
def test_what_was_trained_in_memory_stays_usable_and_is_what_the_run_gives(folder, tmp_path, as_object):
    model = maclip.build("tiny", config=MODEL)
    before = {key: value.clone() for key, value in model.tuned_state().items()}
    data = maclip.open_data(folder) if as_object else folder
    callbacks = Listener()
    run = maclip.train(model, data, TRAIN, out=tmp_path / "run", machine=CPU, callbacks=callbacks)
    assert run == maclip.Run.open(tmp_path / "run")
    assert run.config.chosen is not None
    assert not model.training
    assert any(not torch.equal(value, before[key]) for key, value in model.tuned_state().items())
    same(model, run.model())
    same(model, maclip.load(tmp_path / "run"))
    same(model, run.model(backbone=maclip.build("tiny", adapters="none").backbone))
    assert model.config.text.fusion_weight == run.config.chosen.fusion_weight
    assert any("validation classes" in note for note in callbacks.notes)
    assert {row.get("stage") for row in run.metrics()} == {"prototype", "joint", None}
    assert not any(parameter.is_meta for parameter in model.parameters())
    with pytest.raises(MaclipError) as caught:
        maclip.train(model, data, TRAIN, out=tmp_path / "run", machine=CPU)
    assert caught.value.code == "output-exists"


def test_the_training_in_memory_is_the_commands(folder, tmp_path):
    from maclip.training.api import train_new

    torch.manual_seed(TRAIN.seed)
    model = maclip.build("tiny", config=MODEL)
    trainer = train_new(folder, tmp_path / "a", "tiny", "openai", MODEL, TRAIN, machine=CPU)
    torch.manual_seed(TRAIN.seed)
    model = maclip.wrap(model.clip, model.backbone.tokenizer, model.backbone.preprocess, config=MODEL)
    run = maclip.train(model, folder, TRAIN, out=tmp_path / "b", machine=CPU)
    rows = [maclip.Run.open(tmp_path / name).metrics() for name in "ab"]
    assert rows[0] == rows[1]
    assert replace(run.config, backbone=trainer.config.backbone) == trainer.config
    assert (tmp_path / "a/adapters.safetensors").read_bytes() == (tmp_path / "b/adapters.safetensors").read_bytes()


def test_a_training_may_begin_with_another(folder, tmp_path):
    still = TRAIN.changed(prototype_episodes=0, learning_rate=0.0, weight_decay=0.0)
    first = maclip.train(maclip.build("tiny", config=MODEL), folder, TRAIN, out=tmp_path / "a", machine=CPU)
    model = maclip.build("tiny", config=MODEL)
    second = maclip.train(model, folder, still, out=tmp_path / "b", machine=CPU, init=first.path)
    assert second.config.init is not None
    assert all(torch.equal(value, first.model().tuned_state()[key]) for key, value in model.tuned_state().items())


def test_models_runs_datasets_folders_and_classes_can_all_be_evaluated(folder, tmp_path):
    model = maclip.build("tiny", config=MODEL)
    run = maclip.train(model, folder, TRAIN, out=tmp_path / "run", machine=CPU)
    data = maclip.open_data(folder)
    chosen = ASKED.changed(names=run.config.support_names)  # what "chosen" means for the run
    of_run = maclip.evaluate(run, data, ASKED)
    records = [
        maclip.evaluate(model, data, chosen),
        maclip.evaluate(model, folder, chosen),
        maclip.evaluate(model, str(folder), chosen),
        maclip.evaluate(model, data.split("test"), chosen),
        of_run,
    ]
    assert all(record.result == of_run.result for record in records)
    assert len({record.episodes_sha256 for record in records}) == 1
    assert of_run.model == str(run.path)
    assert of_run.adapters_sha256 == run.adapters_sha256
    assert records[0].adapters_sha256 is not None
    assert not maclip.compare(records[0], of_run).separated
    assert of_run.seen_in_training == ()
    on_training = maclip.evaluate(run, data, ASKED, split="train")
    assert set(on_training.seen_in_training) == {f"{colour} train" for colour in ("red", "green", "blue")}
    other = maclip.evaluate(model, data, ASKED.changed(names="none", seed=1))
    assert (other.result.support.names, other.result.seed) == ("none", 1)
    assert maclip.evaluate(maclip.build("tiny", adapters="none", prototype="none"), data, ASKED).adapters_sha256 is None


class Counting(Listener):
    """Counts updates, and tells which rows were begun."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__(stop_after)
        self.updates = 0

    def step(self, step: object) -> None:
        self.updates += 1
        super().step(step)  # type: ignore[arg-type]


def test_an_ablation_keeps_what_is_done(folder, tmp_path):
    def ablate(callbacks: Counting, **changes: object) -> list[ablation.AblationResult]:
        choices = {"train": TRAIN, "evaluation": ASKED, "shots": (1, 2), **changes}
        return maclip.ablate(
            folder, tmp_path / "a", ("frozen", "tpcm", "adapters"), backbone="tiny", pretrained="tiny", model=MODEL,
            machine=CPU, callbacks=callbacks, **choices,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        ablate(Counting(stop_after=5))  # after the four updates of tpcm and the first of adapters
    resumed = Counting()
    results = ablate(resumed)
    assert resumed.updates == 1
    assert [one.name for one in results] == ["frozen", "tpcm", "adapters"]
    frozen, tpcm, adapters = results
    assert frozen.run is None
    assert tpcm.run is not None
    assert adapters.run is not None
    kinds = [(run.config.model.adapters.kind, run.config.model.prototype.kind) for run in (tpcm.run, adapters.run)]
    assert kinds == [("none", "tpcm"), ("blocks", "none")]
    assert adapters.run.config.model.adapters.depth == 1
    assert len({one.records[1].episodes_sha256 for one in results}) == 1
    assert [one.records[2].result.shot for one in results] == [2, 2, 2]
    assert tpcm.against(frozen, 1).episodes == 20

    again = Counting()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert ablate(again) == results
    assert again.updates == 0
    assert {path: path.stat().st_mtime_ns for path in files} == files

    other = ablate(Counting(), evaluation=ASKED.changed(seed=9))
    assert {one.records[1].result.seed for one in other} == {9}
    assert read_record(tmp_path / "a/tpcm/test-1-shot.json") == other[1].records[1]
    for changed in ({"train": TRAIN.changed(seed=9)}, {"backbone": "ViT-B-32"}):
        with pytest.raises(MaclipError) as caught:
            maclip.ablate(
                folder, tmp_path / "a", ("tpcm",),
                **{"backbone": "tiny", "model": MODEL, "train": TRAIN, "machine": CPU, **changed},
            )  # fmt: skip
        assert caught.value.code == "resume-differs"
    with pytest.raises(MaclipError, match="No row has --adapters mine") as caught:
        maclip.ablate(folder, tmp_path / "b", backbone="tiny", model=MODEL.changed(adapters="mine"))
    assert caught.value.code == "option-invalid"
    with pytest.raises(MaclipError, match="'best'") as caught:
        maclip.ablate(folder, tmp_path / "b", ("best",), backbone="tiny")
    assert caught.value.code == "option-invalid"
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("name", ablation.ROWS)
def test_every_row_of_the_ablation_makes_a_model(name):
    row = ablation.ROWS[name]
    model = maclip.build("tiny", "none", config=ablation._changed(MODEL.changed(ladder_width=16), row))
    assert bool(model.tuned_parameters()) is row.trained
    kind = row.options["adapters"]
    assert (model.adapted_depth, model.side is not None) == (int(kind == "blocks"), kind == "ladder")
    assert model.config.adapters.ladder.width == (16 if kind == "ladder" else None)
