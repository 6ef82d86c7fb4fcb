"""Training leaves a run that can be used, and nothing is lost when it is interrupted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_clip import small_backbone

import maclip
from maclip.config import Machine, ModelConfig, TrainConfig
from maclip.data.clip_store import ClipStore
from maclip.data.dataset import ActionClass, open_folders
from maclip.data.episodes import Episode, EpisodeSampler
from maclip.evaluation.evaluator import Evaluator
from maclip.evaluation.features import store_for
from maclip.model.maclip import MaClip
from maclip.runs import RUN_FORMAT, Run
from maclip.training import api, choosing, step
from maclip.training import trainer as training
from maclip.training.callbacks import Callbacks, Step
from maclip.training.checkpoint import Checkpoint
from maclip.training.distributed import start_team
from maclip.training.episode_loader import Batch, EpisodeLoader
from maclip.training.optimizer import Optimizer
from maclip_runtime.errors import MaclipError

CPU = Machine(device="cpu")
MODEL = ModelConfig.of(adapters="blocks", adapted_depth=1)
TRAIN = TrainConfig.of(
    way=4, episodes=8, prototype_episodes=8, accumulate=2, views=2, validation_episodes=20, validations=4, seed=3
)


class Silent(Callbacks):
    """Keeps what a training comes to; `stop_after` updates it interrupts, as Ctrl-C does."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.steps: list[Step] = []
        self.validations: list[float] = []
        self.stop_after = stop_after

    def step(self, step: Step) -> None:
        self.steps.append(step)
        if len(self.steps) == self.stop_after:
            raise KeyboardInterrupt

    def validated(self, stage: str, episode: int, accuracy: float, interval: float) -> None:
        self.validations.append(accuracy)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every backbone is the small one, so that no weights are needed."""
    monkeypatch.setattr(api, "load_backbone", lambda name, pretrained, **_: small_backbone())
    monkeypatch.setattr("maclip.runs.load_backbone", lambda name, pretrained, **_: small_backbone())
    monkeypatch.setattr(choosing, "CHOOSING_EPISODES", 50)


def train(
    data: Path, run: Path, callbacks: Silent | None = None, model: ModelConfig = MODEL, **changes: object
) -> Silent:
    callbacks = callbacks or Silent()
    api.train_new(data, run, "small", "none", model, TRAIN.changed(**changes), callbacks=callbacks, machine=CPU)
    return callbacks


def test_a_run_holds_all_that_is_needed(drawn_data, tmp_path):
    callbacks = train(drawn_data, tmp_path / "run")
    config = Run.open(tmp_path / "run").config
    assert config.train == TRAIN
    assert len(config.names.train) == 12
    assert len(config.names.val) == 8
    assert config.chosen is not None
    assert "validation" in config.chosen.measured_on
    assert config.chosen.limit is not None
    state = load_file(tmp_path / "run" / "adapters.safetensors")
    assert {value.dtype for value in state.values()} == {torch.float32}
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["episode"] for row in rows if "loss" in row] == [2, 4, 6, 8, 2, 4, 6, 8]
    assert [step.stage for step in callbacks.steps] == ["prototype"] * 4 + ["joint"] * 4
    model = maclip.load(tmp_path / "run")
    assert not model.training
    assert model.config.text.fusion_weight == config.chosen.fusion_weight
    assert all(torch.equal(value, state[key]) for key, value in model.tuned_state().items())


def one_episode(model: MaClip, **choices: object) -> tuple[Optimizer, Batch]:
    """An optimizer of the whole of `model`, and an episode of four classes whose clips are random stem tokens."""
    config = TrainConfig.of(**{"way": 4, "accumulate": 1, **choices})
    store = store_for(model, [ActionClass(name, None, False, (Path(name),) * 2) for name in "abcd"])
    text, team = model.encode_names("abcd"), start_team(CPU, config.precision)
    loader = EpisodeLoader(store, config, text, workers=1)
    optimizer = Optimizer(model.train(), loader, team, "joint", model.tuned_parameters())
    torch.manual_seed(0)
    tokens = torch.randn(8, 8, 5, 32)
    episode = Episode(np.arange(4), np.arange(0, 8, 2), np.arange(1, 8, 2))
    return optimizer, Batch(0, episode, 0, text, clips=tokens)


def test_the_best_state_by_validation_is_kept(drawn_data, tmp_path, monkeypatch):
    scores = iter([0.2, 0.9, 0.3, 0.1])
    seen = []

    def scripted(self, *args: object, **kwargs: object):
        result = evaluate(self, *args, **kwargs)
        if len(seen) < 4:
            seen.append({key: value.clone() for key, value in self.model.tuned_state().items()})
            # By names alone the last state is the best, but nobody can choose to answer so.
            by_weight = dict.fromkeys(result.by_fusion_weight, next(scores)) | {"1": 0.9 + len(seen) / 100}
            return replace(result, by_fusion_weight=by_weight)
        return result

    evaluate = Evaluator.evaluate
    monkeypatch.setattr(Evaluator, "evaluate", scripted)
    train(drawn_data, tmp_path / "run", prototype_episodes=0)
    state = load_file(tmp_path / "run" / "adapters.safetensors")
    assert all(torch.equal(seen[1][key], value) for key, value in state.items())
    assert any(not torch.equal(seen[3][key], value) for key, value in state.items())


@pytest.mark.parametrize("stop_after", [3, 6])
def test_resuming_gives_what_an_uninterrupted_run_gives(drawn_data, tmp_path, stop_after):
    train(drawn_data, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(drawn_data, tmp_path / "cut", Silent(stop_after))
    api.resume(tmp_path / "cut", callbacks=Silent(), machine=CPU)
    whole, cut = (load_file(tmp_path / run / "adapters.safetensors") for run in ("whole", "cut"))
    for key, value in whole.items():
        torch.testing.assert_close(cut[key], value, rtol=0, atol=0)


def test_interrupting_keeps_the_last_update(drawn_data, tmp_path):
    callbacks = Silent(stop_after=3)
    with pytest.raises(KeyboardInterrupt):
        train(drawn_data, tmp_path / "run", callbacks, validations=1)
    saved = Checkpoint(tmp_path / "run", None).load()
    assert saved is not None
    assert (saved.progress.stage, saved.progress.episode) == ("prototype", 6)
    with pytest.raises(MaclipError) as caught:
        maclip.load(tmp_path / "run")
    assert caught.value.code == "adapters-missing"
    assert "--resume" in caught.value.fix


def test_training_lowers_the_loss_it_trains(make_model):
    """One fixed episode, again and again through the same steps as training takes: it must be learnt by heart."""
    optimizer, batch = one_episode(make_model(adapted_depth=1))
    losses = []
    for _ in range(150):
        losses.append(optimizer.accumulate(batch)[0])
        optimizer.update(range(1), 3e-3)
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("stage", [{"prototype_episodes": 0}, {"episodes": 0}])
def test_a_metric_with_parameters_is_trained_in_either_stage_and_kept(drawn_data, tmp_path, monkeypatch, stage):
    first: dict[str, torch.Tensor] = {}
    fit = training.Trainer.fit

    def noting(self: training.Trainer, *, resume: bool = False) -> None:
        first.update({key: value.clone() for key, value in self.model.tuned_state().items()})
        fit(self, resume=resume)

    monkeypatch.setattr(training.Trainer, "fit", noting)
    train(drawn_data, tmp_path / "run", model=MODEL.changed(metric="trx"), **stage)
    state = load_file(tmp_path / "run" / "adapters.safetensors")
    learnt = {key for key, value in state.items() if not torch.equal(value, first[key])}
    assert {key for key in state if key.startswith("metric.")} <= learnt
    assert len(maclip.load(tmp_path / "run").metric.state_dict()) == 5


@pytest.mark.parametrize(("dropout", "same"), [(1.0, True), (0.0, False)])
def test_text_dropout_hides_the_names_of_support_clips(drawn_data, tmp_path, monkeypatch, dropout, same):
    frames_alone = MODEL.changed(fusion_weight=0.0)
    told = train(drawn_data, tmp_path / "told", model=frames_alone, text_dropout=dropout)
    encode = MaClip.encode_names
    monkeypatch.setattr(MaClip, "encode_names", lambda self, names: encode(self, names).flip(0))
    untold = train(drawn_data, tmp_path / "untold", model=frames_alone, text_dropout=dropout)
    assert ([s.loss for s in told.steps] == [s.loss for s in untold.steps]) is same


def test_cached_stems_and_decoding_agree(drawn_data, make_model):
    model = make_model(adapted_depth=1, frames=8)
    classes = open_folders(drawn_data).split("val")
    cached, decoded = store_for(model, classes), store_for(model, classes)
    cached.cache_stem(model.frozen_stem())
    ids = np.array([0, 5])
    with torch.no_grad():
        # The cache holds 16 of 24 frames, so a view may be a neighbouring frame: alike, not equal.
        a, b = model.encode(cached.load(ids)), model.encode(decoded.load(ids))
    assert torch.cosine_similarity(a, b, dim=-1).min() > 0.8
    assert cached.load(ids).dtype == torch.float16
    assert (cached.load(ids, np.random.default_rng(0)) != cached.load(ids, np.random.default_rng(1))).any()


def test_validation_sees_the_frames_that_eval_reads(drawn_data, tmp_path, make_model):
    model = make_model(adapted_depth=1, frames=8)
    held_out = open_folders(drawn_data).split("val")
    ids, stem, decoded = np.array([0, 5]), model.frozen_stem(), store_for(model, held_out)
    cached = ClipStore(held_out, decoded.reader, views=False)
    cached.cache_stem(stem)
    assert cached.cache_bytes(stem) == decoded.cache_bytes(stem) // 2
    with torch.no_grad():
        tokens = model.stem(decoded.load(ids).flatten(0, 1)).unflatten(0, (2, 8))
    assert torch.equal(cached.load(ids), tokens.half())
    cached_training = TRAIN.changed(cache="stem", prototype_episodes=0)
    trainer = api.train_new(drawn_data, tmp_path / "run", "small", "none", MODEL, cached_training, machine=CPU)
    assert trainer.validation is not None
    assert trainer.validation.is_cached
    assert not trainer.validation.views
    assert trainer.store.views


def test_a_stem_is_borrowed_where_it_is_the_same_and_only_there(drawn_data, make_model):
    classes = open_folders(drawn_data).split("val")

    def cached(depth: int, classes: Sequence[ActionClass], *lenders: ClipStore) -> ClipStore:
        model = make_model(adapted_depth=depth)
        store = store_for(model, classes)
        store.cache_stem(model.frozen_stem(), reuse=lenders)
        return store

    lender = cached(1, classes)
    assert cached(0, classes, lender)._tokens is lender._tokens  # the last block is never the stem's
    assert cached(2, classes, lender)._tokens is not lender._tokens
    assert cached(1, classes[1:], lender)._tokens is not lender._tokens


def test_data_without_splits_trains_and_says_what_it_measured_on(drawn_data, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for entry in sorted(drawn_data.iterdir())[:6]:
        if entry.is_dir():
            (folder / entry.name).symlink_to(entry)
    # No weight that is ever tried: it stays the model's.
    train(folder, tmp_path / "run", model=MODEL.changed(fusion_weight=0.33), prototype_episodes=0, episodes=2)
    chosen = Run.open(tmp_path / "run").config.chosen
    assert chosen is not None
    assert chosen.measured_on.startswith("training classes")
    assert chosen.fusion_weight == 0.33


def test_a_loss_that_is_not_finite_stops_and_keeps_the_good_state(drawn_data, tmp_path, monkeypatch):
    real = step.episode_loss
    calls = []

    def sometimes_nan(*args: object):
        calls.extend([1] if torch.is_grad_enabled() else [])  # of what is learnt, not of what is only tried
        return real(*args) * (float("nan") if len(calls) == 6 else 1.0)

    monkeypatch.setattr(step, "episode_loss", sometimes_nan)
    with pytest.raises(MaclipError) as caught:
        train(drawn_data, tmp_path / "run", prototype_episodes=0)
    assert caught.value.code == "loss-not-finite"
    episode = EpisodeSampler([3] * 12, 4, 1, 1, TRAIN.seed)[2 * 5 + 1]  # the sixth of the joint part
    assert "joint episode 5 is nan" in caught.value.message
    classes = open_folders(drawn_data).split("train")
    assert all(repr(classes[i].name) in caught.value.message for i in episode.classes)
    paths = [clip for c in classes for clip in c.clips]
    assert all(f"{paths[i].parent.name}/{paths[i].name}" in caught.value.message for i in episode.query)
    saved = Checkpoint(tmp_path / "run", None).load()
    assert saved is not None
    assert saved.progress.episode == 4
    assert all(value.isfinite().all() for value in saved.weights.values())


def refused(code: str, data: Path, run: Path, **changes: object) -> None:
    with pytest.raises(MaclipError) as caught:
        train(data, run, **changes)
    assert caught.value.code == code
    assert caught.value.fix


def test_bad_beginnings_are_refused_and_touch_nothing(drawn_data, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "keep.txt").write_text("mine")
    refused("output-exists", drawn_data, tmp_path / "there")
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["keep.txt"]
    refused("too-few-clips", drawn_data, tmp_path / "run", shot=5)
    refused("data-missing", tmp_path / "nowhere", tmp_path / "run")
    (tmp_path / "file").write_text("")
    refused("output-unwritable", drawn_data, tmp_path / "file" / "run")
    assert not (tmp_path / "run").exists()


def test_resuming_refuses_changed_data_and_what_is_no_run(drawn_data, tmp_path):
    with pytest.raises(MaclipError, match="is not a run"):
        api.resume(tmp_path, callbacks=Silent(), machine=CPU)
    train(drawn_data, tmp_path / "run", prototype_episodes=0, episodes=2)
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace("two shapes moving apart", "something else"))
    with pytest.raises(MaclipError) as caught:
        api.resume(tmp_path / "run", callbacks=Silent(), machine=CPU)
    assert caught.value.code == "data-changed"
    config.write_text(config.read_text().replace(f'"format": {RUN_FORMAT}', '"format": 9'))
    with pytest.raises(MaclipError) as caught:
        maclip.load(tmp_path / "run")
    assert caught.value.code == "run-invalid"


def test_adapters_of_another_model_are_refused(drawn_data, tmp_path):
    train(drawn_data, tmp_path / "one", prototype_episodes=0, episodes=2)
    train(
        drawn_data,
        tmp_path / "two",
        model=ModelConfig.of(adapters="blocks", adapted_depth=2),
        prototype_episodes=0,
        episodes=2,
    )
    (tmp_path / "one" / "adapters.safetensors").write_bytes((tmp_path / "two" / "adapters.safetensors").read_bytes())
    with pytest.raises(MaclipError) as caught:
        maclip.load(tmp_path / "one")
    assert caught.value.code == "adapters-mismatch"
