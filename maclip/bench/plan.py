"""The ways to train that are measured, and what was predicted of them.

Prediction, written before measuring, for ViT-B/32, 8 frames, 5-way 1-shot with one query a class (80 frames of
L = 50 rows, D = 768), K = 53 keys, a multiplication and its addition counted as two, TPCM and the metric left out:
  a plain block     24 L D^2 + 4 L^2 D        = 715 M a frame; the last one, of which a row is read, 130 M
  an adapted block  (4 K + 22 L + 9) D^2 + 4 K L D = 787 M; the last one 143 M; the patch embedding 231 M
  full              each product forward, for its input and for its weight: 3 x 8.2 G           = 24.4 G a frame
  adapters          forward 9.0 G, inputs 8.8 G, weights of adapters alone 0.7 G                = 18.5 G
  checkpointed      the blocks forward once more: + 8.8 G                                       = 27.3 G
  cached, K = 4     forward 2.5 G, inputs 2.5 G, weights 0.2 G                                  =  5.2 G
If time follows operations: 1.3, 0.9 and 4.7 times the episodes of full fine-tuning (the paper: 1.13 with adapters).
Memory, in units of u = 80 L D floats = 11.7 MiB: a plain block that is tuned keeps about 17 u for its gradients, an
adapted one about 12.5 u, as a frozen product keeps no input. Weights are 577 MiB, 242 of them the text encoder's and
225 the stem's; what is tuned takes its size three times more (gradient, two moments). In all 3.8 GiB, 2.4 (0.64),
1.1 (0.29) and 1.2 (0.31); 0.7 (0.18) where text encoder and stem are let go once all is computed that needs them.
  ladder (d = 256)  13 down-projections 2 L D d = 256 M, 11 layers 24 L d^2 + 4 L^2 d = 897 M of all rows: forward
                    1.1 G, inputs 0.9 G, weights 1.1 G                                             = 3.1 G
So 7.7 times the episodes of full fine-tuning by operations, 4 as narrow products reach half of the rate. Memory was
predicted as 0.9 GiB (0.24) and measured as 0.56: a layer keeps 17 rows of d for 80 frames, 70 MiB, not 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from maclip.config import ModelConfig, TrainConfig
from maclip_runtime.errors import MaclipError

DEPTH = 4  # K of "cached"
SPARE_CLIPS = 1  # of each class, beyond what an episode needs


@dataclass(frozen=True)
class Settings:
    """One benchmark.

    backbone, pretrained, metric, device, precision: as for `maclip train`.
    frames, way, shot, queries: of each episode; queries per class.
    episodes: per update; a turn is one update.
    rounds: turns of each method.
    depth: K, the adapted blocks of the method with cached stems.
    threads: of each process.
    """

    backbone: str = "ViT-B-32"
    pretrained: str = "none"
    frames: int = 8
    way: int = 5
    shot: int = 1
    queries: int = 1
    episodes: int = 4
    rounds: int = 5
    depth: int = DEPTH
    metric: str = "otam"
    device: str = "auto"
    precision: str = "32"
    threads: int = 1
    seed: int = 0

    @property
    def clips_a_class(self) -> int:
        """How many clips are drawn of each class."""
        return self.shot + self.queries + SPARE_CLIPS


@dataclass(frozen=True)
class Method:
    """One way to train: its name in words, the model's and the training's configuration."""

    name: str
    model: ModelConfig
    train: TrainConfig


REFERENCE = "full"


def methods(settings: Settings) -> Mapping[str, Method]:
    """All methods by key; first full fine-tuning, to which ratios are relative."""
    model = ModelConfig.of(frames=settings.frames, metric=settings.metric, adapters="blocks")
    train = TrainConfig.of(
        way=settings.way,
        shot=settings.shot,
        queries=settings.queries,
        episodes=settings.episodes * (settings.rounds + 2),  # one update before the rounds, and none is the last
        accumulate=settings.episodes,
        learning_rate=1e-6,
        schedule="constant",
        warmup=0.0,
        cache="none",
        validations=1,
        precision=settings.precision,
        seed=settings.seed,
    )
    last = model.changed(adapted_depth=settings.depth)
    return MappingProxyType(
        {
            REFERENCE: Method("full fine-tuning", model.changed(adapters="none", tune="all"), train),
            "adapters": Method("adapters, all blocks (the paper)", model, train),
            "checkpointed": Method("adapters, all blocks, checkpointed", model, train.changed(checkpointing=True)),
            "cached": Method(f"adapters, last {settings.depth} blocks, stem cached", last, train.changed(cache="stem")),
            "ladder": Method(
                "ladder, CLIP's tokens cached", model.changed(adapters="ladder"), train.changed(cache="stem")
            ),
        }
    )


def chosen(settings: Settings, only: tuple[str, ...]) -> Mapping[str, Method]:
    """The methods named in `only`; all where it is empty. Raises `option-invalid` for an unknown name."""
    known = methods(settings)
    for name in only:
        if name not in known:
            raise MaclipError("option-invalid", f"There is no method {name!r}.", f"Choose from: {', '.join(known)}.")
    return {key: method for key, method in known.items() if not only or key in only}
