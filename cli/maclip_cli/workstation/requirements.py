"""Check that the libraries of the workstation commands are installed."""

from __future__ import annotations

from importlib.util import find_spec

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

TRAINING = ("torch", "open_clip")
EXPORT = (*TRAINING, "onnx", "onnxscript", "onnxslim", "onnxruntime")


def need_training() -> None:
    """Raise `training-missing` if a library for training is not installed."""
    _need(TRAINING)


def need_export() -> None:
    """Raise `training-missing` if a library for exporting is not installed."""
    _need(EXPORT)


def _need(modules: tuple[str, ...]) -> None:
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise MaclipError(
            "training-missing",
            f"This command needs {' and '.join(missing)}, which a device does not have.",
            "On a workstation: pip install 'maclip[train,export,cpu]'.",
            EXIT_MACHINE_LACKS,
        )
