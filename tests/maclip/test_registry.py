"""A metric, a prototype module and an adapter of somebody else's file are used by name, trained and loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_clip import small_backbone
from small_data import CPU, small_training, write_classes
from torch import Tensor, nn

import maclip
from maclip.adapters import ADAPTERS, adapter
from maclip.backbones.image_towers import FrozenBlock, FrozenTower, plain_block
from maclip.config import AdapterConfig, ModelConfig, PrototypeConfig
from maclip.metrics import METRICS, metric
from maclip.model.maclip import MaClip
from maclip.prototypes import PROTOTYPES, prototype
from maclip.registry import Registry
from maclip_runtime.errors import MaclipError


@pytest.fixture(autouse=True)
def _own_parts() -> Iterator[None]:
    """Registers three parts for a test and takes them out again."""
    registries: tuple[Registry, ...] = (ADAPTERS, PROTOTYPES, METRICS)
    before = [dict(registry) for registry in registries]

    @adapter("shift")
    class Shift(nn.Module):
        def __init__(self, tower: FrozenTower, config: AdapterConfig) -> None:
            super().__init__()
            self.offset = nn.Parameter(config.init_std * torch.arange(tower.width))

        def forward(
            self, block: FrozenBlock, x: Tensor, text: object, has_text: object, keep: int | None = None
        ) -> Tensor:
            return plain_block(block, x.flatten(0, 1), keep).unflatten(0, x.shape[:2]) + self.offset

    @prototype("scaled")
    class Scaled(nn.Module):
        def __init__(self, width: int, config: PrototypeConfig) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(width))

        def forward(self, features: Tensor, text: Tensor | None = None, has_text: Tensor | None = None) -> Tensor:
            return features * self.factor

    @metric("first-frame")
    def first_frame(query: Tensor, support: Tensor, softmin_lambda: float) -> Tensor:
        return torch.cdist(query[:, 0].float(), support[:, 0].float()) * softmin_lambda

    yield
    for registry, parts in zip(registries, before, strict=True):
        registry.clear()
        registry.update(parts)


OWN = ModelConfig.of(
    adapters="shift", adapter_init_std=0.25, prototype="scaled", metric="first-frame", softmin_lambda=2.0,
    adapted_depth=1, frames=4,
)  # fmt: skip


def test_own_parts_are_built_with_their_configuration():
    model = MaClip(small_backbone(), OWN).eval()
    assert set(model.tuned_state()) == {"blocks.2.offset", "prototype.factor", "temporal_embedding"}
    assert model.blocks["2"].offset.equal(0.25 * torch.arange(32))
    query, support = torch.randn(2, 4, 16), torch.randn(3, 4, 16)
    torch.testing.assert_close(model.metric(query, support), 2 * torch.cdist(query[:, 0], support[:, 0]))
    plain = MaClip(small_backbone(), OWN.changed(adapters="none", adapted_depth=None, adapter_init_std=0.02)).eval()
    frames = torch.randint(0, 256, (2, 4, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        assert not torch.allclose(model.features(frames), plain.features(frames))


def test_own_parts_are_trained_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    small_training(monkeypatch)
    data = write_classes(tmp_path / "data", 3)
    model = MaClip(small_backbone(), OWN)
    before = {key: value.clone() for key, value in model.tuned_state().items()}
    config = maclip.TrainConfig.of(way=3, episodes=4, accumulate=2, validations=1, learning_rate=0.01)
    run = maclip.train(model, data, config, out=tmp_path / "run", machine=CPU)
    found = run.model()
    assert found.config.adapters.kind == "shift"
    for key, value in found.tuned_state().items():
        assert torch.equal(value, model.tuned_state()[key])
        assert not torch.equal(value, before[key]), key


@pytest.mark.parametrize(
    ("option", "code"),
    [("adapters", "adapter-unknown"), ("prototype", "prototype-module-unknown"), ("metric", "metric-unknown")],
)
def test_an_unknown_part_is_refused_with_the_known_ones(option, code):
    with pytest.raises(MaclipError, match="'shfit'") as caught:
        MaClip(small_backbone(), OWN.changed(**{option: "shfit"}))
    assert caught.value.code == code
    (own,) = {"shift", "scaled", "first-frame"} & set(caught.value.fix.rstrip(".").replace(": ", ", ").split(", "))
    assert own == OWN.values()[option]
