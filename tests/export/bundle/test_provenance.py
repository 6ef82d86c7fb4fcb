"""A bundle says which run, which code, which libraries and which clips it comes from; what is unknown is None."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from videos import color_video

import maclip
from maclip.config import Machine, TrainConfig
from maclip.data.dataset import data_sha256, open_folders
from maclip.model.maclip import MaClip
from maclip.runs import ADAPTERS_FILE, Run
from maclip.training.api import resume
from maclip_export.bundle import provenance
from maclip_export.bundle.provenance import load_run, provenance_of
from maclip_runtime.bundle.manifest import file_sha256

CPU = Machine.of(device="cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing but the beginning of a training on four clips, and its run."""
    root = tmp_path_factory.mktemp("trained")
    for name in ("red", "green"):
        for seed in range(2):
            (root / "clips" / name).mkdir(parents=True, exist_ok=True)
            color_video(root / "clips" / name / f"{seed}.mp4", [(name, 1.0)], seed=seed)
    config = TrainConfig.of(way=2, episodes=1, accumulate=1, views=1)
    model = maclip.build("tiny", "none", frames=2, adapters="blocks")
    return maclip.train(model, root / "clips", config, out=root / "my-run", machine=CPU).path


def test_the_bundle_of_a_run_names_it(run: Path) -> None:
    known = provenance_of(load_run(run)[2])
    assert (known.run, known.run_sha256) == ("my-run", file_sha256(run / ADAPTERS_FILE))
    assert known.data_sha256 == data_sha256(open_folders(run.parent / "clips"))
    assert known.libraries["torch"] == version("torch")
    assert {"python", "numpy", "onnx", "open_clip_torch"} <= set(known.libraries)
    created = datetime.fromisoformat(known.created)
    assert abs(datetime.now(timezone.utc) - created) < timedelta(minutes=5)


def test_plain_clip_has_no_run(tmp_path: Path) -> None:
    known = provenance_of(None)
    assert (known.run, known.run_sha256, known.data_sha256) == (None, None, None)
    assert known.libraries["numpy"] == version("numpy")


def test_what_a_training_writes_meanwhile_is_not_mistaken_for_what_was_loaded(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = tmp_path / "run"
    shutil.copytree(run, growing)
    load = Run.model

    def load_then_train(opened: Run, pretrained: str | None = None) -> MaClip:
        model = load(opened, pretrained)
        monkeypatch.setattr(Run, "model", load)  # it writes once more, and then no longer
        newer = {key: value + 1 for key, value in model.tuned_state().items()}
        (growing / ADAPTERS_FILE).write_bytes(save(newer))
        return model

    monkeypatch.setattr(Run, "model", load_then_train)
    model, _, origin = load_run(growing)
    assert origin.run_sha256 == file_sha256(growing / ADAPTERS_FILE) != file_sha256(run / ADAPTERS_FILE)
    written = load_file(growing / ADAPTERS_FILE)
    assert all(torch.equal(value, written[key]) for key, value in model.tuned_state().items())


def test_going_on_notes_the_clips_it_goes_on_with(run: Path) -> None:
    before = Run.open(run).config.data_sha256
    gone = run.parent / "clips" / "red" / "2.mp4"
    color_video(gone, [("red", 1.0)], seed=7)
    resume(run, machine=CPU)
    after = Run.open(run).config.data_sha256
    assert after == data_sha256(open_folders(run.parent / "clips")) != before
    gone.unlink()


def test_the_digest_of_clips_is_of_names_splits_and_sizes(tmp_path: Path) -> None:
    def digest_of(name: str, files: dict[str, int]) -> str:
        for file, size in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_bytes(b"x" * size)
        return data_sha256(open_folders(tmp_path / name))

    files = {"train/jump/a.mp4": 5, "train/jump/b.mp4": 6, "val/run/clip/0.jpg": 2}
    first = digest_of("first", files)
    assert digest_of("elsewhere", dict(reversed(files.items()))) == first
    others = [
        {**files, "train/jump/a.mp4": 7},
        {**files, "train/jump/c.mp4": 5},
        {**files, "val/run/clip/1.jpg": 2},
        {"train/jump/a.mp4": 5, "train/jump/b.mp4": 6, "test/run/clip/0.jpg": 2},
        {"train/leap/a.mp4": 5, "train/leap/b.mp4": 6, "val/run/clip/0.jpg": 2},
    ]
    digests = {digest_of(f"other{i}", other) for i, other in enumerate(others)}
    assert len(digests | {first}) == len(others) + 1


def test_a_missing_library_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "LIBRARIES", ("numpy", "no-such-library"))
    assert set(provenance.versions()) == {"python", "numpy"}
