"""What is chosen at the end of a training: the cohort, and the distance of "none of these"."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_trainer import CPU, MODEL, TRAIN, small, train

import maclip
from maclip.data.clip_reader import ClipReader
from maclip.data.clip_store import ClipStore
from maclip.data.dataset import open_folders
from maclip.evaluation.features import store_for
from maclip.model.cohort import Cohort
from maclip.runs import COHORT_FILE, Run
from maclip.training import choosing
from maclip.training.callbacks import Callbacks
from maclip_runtime.errors import MaclipError

__all__ = ["small"]  # the fixture that gives every test here the small backbone

OPEN = MODEL.changed(open_set_weight=0.5)
FEATURES, CLASSES = torch.zeros(2, 8, 16), (torch.ones(3, 8, 16), torch.zeros(3, 16))


@pytest.fixture
def told_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers are told better with a cohort, whatever it is."""
    rising: Iterator[int] = count()
    monkeypatch.setattr(choosing, "stranger_auroc", lambda outcomes: float(next(rising)))


def test_a_cohort_of_training_classes_is_kept_where_strangers_are_told_better(drawn_data, tmp_path, told_better):
    train(drawn_data, tmp_path / "run", model=OPEN, cache="none")
    run = Run.open(tmp_path / "run")
    assert run.config.chosen is not None
    chosen = run.config.chosen.cohort
    assert chosen is not None
    assert chosen.weight == 0.5
    model = run.model()
    kept = load_file(run.path / COHORT_FILE)["prototypes"]
    store = store_for(model, open_folders(drawn_data).split("train"))
    with torch.no_grad():
        for label in range(12):
            (clips,) = np.nonzero(store.labels == label)
            each = [model.prototypes(model.encode(store.load(np.array([clip]))))[0] for clip in clips[:3]]
            torch.testing.assert_close(kept[label], torch.stack(each).mean(0))
        held_out = store_for(model, open_folders(drawn_data).split("val"))
        queries = model.prototypes(model.encode(held_out.load(np.arange(len(held_out)))))
        assert model.cohort is not None
        usual = model.cohort.distance(model.metric, queries).mean()
    assert len(kept) == 12
    assert float(usual) == pytest.approx(chosen.typical, abs=1e-4)
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["chosen"]["cohort"] == {"weight": 0.5, "typical": chosen.typical}


def test_a_cohort_that_helps_nothing_or_is_not_asked_for_is_not_made(drawn_data, tmp_path, monkeypatch):
    monkeypatch.setattr(choosing, "stranger_auroc", lambda outcomes: 0.5)
    train(drawn_data, tmp_path / "level")
    monkeypatch.setattr(choosing, "stranger_auroc", None)  # is not asked
    train(drawn_data, tmp_path / "off", model=MODEL.changed(cohort_weight=0.0))
    for name in ("level", "off"):
        run = Run.open(tmp_path / name)
        assert run.config.chosen is not None
        assert run.config.chosen.cohort is None
        assert run.model().cohort is None
        assert not (run.path / COHORT_FILE).exists()


def test_a_model_in_memory_answers_as_the_run_that_was_written(drawn_data, tmp_path, told_better):
    train(drawn_data, tmp_path / "first", model=OPEN)
    model = Run.open(tmp_path / "first").model()
    earlier = model.cohort
    assert isinstance(earlier, Cohort)
    run = maclip.train(model, drawn_data, TRAIN, out=tmp_path / "second", machine=CPU, callbacks=Callbacks())
    assert model.cohort is not earlier  # the first one is of other weights
    with torch.no_grad():
        ours, again = model.match(FEATURES, *CLASSES), run.model().match(FEATURES, *CLASSES)
    for one, other in zip(ours, again, strict=True):
        torch.testing.assert_close(one, other)
    model.config = model.config.changed(cohort_weight=0.0)
    maclip.train(model, drawn_data, TRAIN, out=tmp_path / "third", machine=CPU, callbacks=Callbacks())
    assert model.cohort is None


def test_the_distance_of_none_is_balanced_over_galleries_of_several_sizes(drawn_data, tmp_path, monkeypatch):
    asked = []

    def noting(several):
        asked.append([len(one.labels) for one in several])
        return 4.25

    monkeypatch.setattr(choosing, "balance_none", noting)
    train(drawn_data, tmp_path / "run", model=OPEN)
    run = Run.open(tmp_path / "run")
    assert asked == [[5]]  # three clips a class leave none for a query of 3-shot episodes
    assert run.config.chosen is not None
    assert run.config.chosen.limit is not None
    assert run.config.chosen.limit.distance == pytest.approx(4.25)
    assert run.config.chosen.limit.measured_on.startswith("learned in training, balanced after it; validation")
    model = run.model()
    assert model.none_distance is not None
    assert float(model.none_distance) == pytest.approx(4.25)
    assert float(load_file(run.adapters)["none_distance"]) != pytest.approx(4.25)  # as training left it


def test_a_cohort_that_does_not_fit_its_run_is_refused(drawn_data, tmp_path, told_better):
    train(drawn_data, tmp_path / "run")
    file = tmp_path / "run" / COHORT_FILE
    good = shutil.copy(file, tmp_path / "good")

    def refused() -> MaclipError:
        with pytest.raises(MaclipError) as caught:
            Run.open(tmp_path / "run").model()
        return caught.value

    for spoil in (
        lambda: file.unlink(),
        lambda: file.write_bytes(b"no tensors"),
        lambda: save_file({"other": torch.zeros(3, 8, 16)}, file),
        lambda: save_file({"prototypes": torch.zeros(0, 8, 16)}, file),
        lambda: save_file({"prototypes": torch.zeros(3, 8, 17)}, file),
    ):
        spoil()
        error = refused()
        assert error.code == "adapters-mismatch"
        assert COHORT_FILE in error.message
    Path(good).replace(file)
    assert Run.open(tmp_path / "run").model().cohort is not None
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["chosen"]["cohort"]["typical"] = math.nan
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    assert refused().code == "run-invalid"


def test_broken_clips_are_not_in_the_cohort(drawn_data, tmp_path, make_model):
    data = shutil.copytree(drawn_data, tmp_path / "data")
    classes = open_folders(data).split("train")[:3]
    classes[1].clips[1].write_bytes(b"")
    model = make_model(adapted_depth=1)
    store = ClipStore(classes, ClipReader(model.backbone.preprocess, model.config.frames), max_broken=0.5)
    clips = choosing._of_cohort(store)
    assert clips.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]  # none was read yet
    with torch.no_grad():
        made = choosing._cohort_prototypes(model, store, clips)
        each = [model.prototypes(model.encode(store.load(np.array([clip]))))[0] for clip in (3, 5)]
    assert len(made) == 3
    torch.testing.assert_close(made[1], torch.stack(each).mean(0))
    assert choosing._of_cohort(store).tolist() == [[0, 1, 2], [6, 7, 8]]  # the class has two left
