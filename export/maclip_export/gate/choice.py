"""Which clips an export is tried on: those that were given, the run's own, or generated ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from maclip.data.dataset import Dataset, open_folders
from maclip.model.maclip import MaClip
from maclip_export.gate.trial import PARITY_CLIPS, TrialClips, calibration_clips, drawn_trial, gate_clips
from maclip_export.options import ExportOptions
from maclip_runtime.errors import MaclipError


@dataclass(frozen=True)
class ExportClips:
    """The clips of one export: for the gate, and for calibration (None: not needed). `notes` are for the user."""

    gate: TrialClips
    calibration: TrialClips | None
    notes: tuple[str, ...] = ()


def choose_clips(model: MaClip, options: ExportOptions, own: Callable[[], Dataset] | None) -> ExportClips:
    """The clips that `options` name, else those of the run, else generated ones.

    own: opens the run's dataset, in the splits of its training; called only if its clips are needed. None: no run.
        If it raises, other clips are used and `notes` says so.

    Raises `data-missing`, `data-empty`, `classes-invalid`, `splits-overlap` and `calibration-too-small`.
    """
    notes: list[str] = []
    data, calibration_data = _opened(options.gate_data), _opened(options.calibration_data)
    own_data = None
    if own is not None and (data is None or (options.needs_calibration and calibration_data is None)):
        try:
            own_data = own()
        except MaclipError as error:
            instead = "generated ones were used" if data is None else "int8 was calibrated on the gate's"
            notes.append(f"The run's own clips cannot be opened, so {instead}: {error.message}")
    data = data or own_data
    nothing_trained = not model.tuned_parameters()
    if data is not None:
        gate = gate_clips(data, model, options.gate_clips)
        if sum(size > 1 for size in gate.sizes()) < 2:
            notes.append("Accuracy was not compared: that takes two classes with two readable clips each.")
    elif nothing_trained and options.precision == "float32":
        gate = drawn_trial(model, 1, PARITY_CLIPS)
        notes.append("Accuracy was not compared: nothing is trained, and no clips were given to try plain CLIP on.")
    else:
        gate = drawn_trial(model, options.gate_clips)
    if not options.needs_calibration:
        return ExportClips(gate, None, tuple(notes))
    seen = calibration_data or own_data or data
    calibration = calibration_clips(seen, model) if seen else drawn_trial(model, seed=1)
    return ExportClips(gate, calibration, tuple(notes))


def _opened(data: str | Path | Dataset | None) -> Dataset | None:
    return open_folders(Path(data)) if isinstance(data, (str, Path)) else data
