"""Configuration of model, training, evaluation and machine. Importing it does not import torch."""

from maclip.config.evaluation import EvaluationConfig
from maclip.config.machine import Machine
from maclip.config.model import AdapterConfig, LadderConfig, MetricConfig, ModelConfig, PrototypeConfig, TextConfig
from maclip.config.options import Config, Option, option
from maclip.config.training import CacheConfig, EpisodeConfig, OptimizerConfig, TrainConfig, ValidationConfig

__all__ = [
    "AdapterConfig",
    "CacheConfig",
    "Config",
    "EpisodeConfig",
    "EvaluationConfig",
    "LadderConfig",
    "Machine",
    "MetricConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Option",
    "PrototypeConfig",
    "TextConfig",
    "TrainConfig",
    "ValidationConfig",
    "option",
]
