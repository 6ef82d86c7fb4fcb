"""Initialise a training from the tuned tensors of another run, such as one TPCM for several adapters."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from maclip.config import ModelConfig
from maclip.config.model import NONE
from maclip.model.maclip import MaClip
from maclip.runs import ADAPTERS_FILE, Init, Run
from maclip_runtime.errors import MaclipError


def find_initial(run: Path, config: ModelConfig) -> Init:
    """The `Init` of `run`, for `begin_with` of a model of `config`.

    Raises `init-mismatch` for adapters of another kind, `run-missing`, `run-invalid` and `adapters-missing`.
    """
    opened = Run.open(run)
    kind = opened.config.model.adapters.kind
    if NONE not in (kind, config.adapters.kind) and kind != config.adapters.kind:
        raise MaclipError(
            "init-mismatch",
            f"{run} was trained with --adapters {kind}, this model has --adapters {config.adapters.kind}.",
            f"Add --adapters {kind}, or train without --init.",
        )
    return Init(str(run.resolve()), opened.adapters_sha256, opened.config.backbone.weights_sha256, opened.config.taught)


def begin_with(model: MaClip, init: Init) -> int:
    """Copy the tensors of `init` into the tuned tensors of `model` with the same name and shape; returns their number.

    Raises `init-mismatch` if the run has another backbone or no such tensor, `init-changed` and `adapters-mismatch`.
    """
    if init.weights_sha256 != model.backbone.sha256:
        raise MaclipError("init-mismatch", f"{init.run} has another backbone.", "Use a run with the same backbone.")
    path = Path(init.run) / ADAPTERS_FILE
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != init.adapters_sha256:
        raise MaclipError(
            "init-changed", f"{path} has changed since this run was started.", "Restore it, or start a new run."
        )
    try:
        given, own = load(content), model.tuned_state()
    except SafetensorError as error:
        raise MaclipError("adapters-mismatch", f"{path} is not a safetensors file.", "Train that run again.") from error
    fitting = [key for key, value in given.items() if key in own and own[key].shape == value.shape]
    if not fitting:
        raise MaclipError("init-mismatch", f"{init.run} has no tuned tensor of this model.", "Train without --init.")
    with torch.no_grad():
        for key in fitting:
            own[key].copy_(given[key])
    return len(fitting)
