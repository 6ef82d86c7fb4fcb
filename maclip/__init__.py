"""MA-CLIP: light adapters on a frozen CLIP that learn actions from a handful of clips.

>>> import maclip
>>> model = maclip.build("tiny")

Train and evaluate in a few lines: samples/research.py. The method, with shapes: docs/method.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from maclip.version import __version__

if TYPE_CHECKING:
    from maclip import metrics
    from maclip.ablation import ablate
    from maclip.building import build, load, wrap
    from maclip.config import EvaluationConfig, Machine, ModelConfig, TrainConfig
    from maclip.data.dataset import ActionClass, Dataset
    from maclip.data.opening import open_data
    from maclip.data.split_lists import SplitLists
    from maclip.data.untrimmed import UntrimmedVideo, open_untrimmed
    from maclip.evaluation.api import evaluate
    from maclip.evaluation.record import Record, compare
    from maclip.evaluation.streams.api import evaluate_streams
    from maclip.evaluation.streams.record import StreamRecord, compare_streams
    from maclip.model.maclip import MaClip
    from maclip.runs import Run
    from maclip.training.api import train
    from maclip.training.callbacks import Callbacks

# Loaded when first asked for: torch and open_clip take seconds to import.
_HOME = {
    "ActionClass": "data.dataset",
    "Callbacks": "training.callbacks",
    "Dataset": "data.dataset",
    "EvaluationConfig": "config",
    "MaClip": "model.maclip",
    "Machine": "config",
    "ModelConfig": "config",
    "Record": "evaluation.record",
    "Run": "runs",
    "SplitLists": "data.split_lists",
    "StreamRecord": "evaluation.streams.record",
    "TrainConfig": "config",
    "UntrimmedVideo": "data.untrimmed",
    "ablate": "ablation",
    "build": "building",
    "compare": "evaluation.record",
    "compare_streams": "evaluation.streams.record",
    "evaluate": "evaluation.api",
    "evaluate_streams": "evaluation.streams.api",
    "load": "building",
    "open_data": "data.opening",
    "open_untrimmed": "data.untrimmed",
    "train": "training.api",
    "wrap": "building",
}

__all__ = [
    "ActionClass",
    "Callbacks",
    "Dataset",
    "EvaluationConfig",
    "MaClip",
    "Machine",
    "ModelConfig",
    "Record",
    "Run",
    "SplitLists",
    "StreamRecord",
    "TrainConfig",
    "UntrimmedVideo",
    "__version__",
    "ablate",
    "build",
    "compare",
    "compare_streams",
    "evaluate",
    "evaluate_streams",
    "load",
    "metrics",
    "open_data",
    "open_untrimmed",
    "train",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name == "metrics":
        return import_module("maclip.metrics")
    if name not in _HOME:
        raise AttributeError(f"module 'maclip' has no attribute {name!r}")
    value = getattr(import_module(f"maclip.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
