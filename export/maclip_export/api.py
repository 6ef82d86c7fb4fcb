"""The whole export in one call: a run or a model in, a bundle that has been checked against torch out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from maclip.data.dataset import SPLITS, Dataset
from maclip.data.opening import open_data
from maclip.model.maclip import MaClip
from maclip.runs import Run, RunConfig
from maclip_export.bundle.names import default_names, vocabulary
from maclip_export.bundle.provenance import Origin, load_run
from maclip_export.bundle.writer import Material, write_bundle
from maclip_export.folders import refuse_existing
from maclip_export.gate.choice import choose_clips
from maclip_export.options import ExportOptions
from maclip_export.report import Report
from maclip_export.targets.rtx import check_rtx
from maclip_export.targets.triton import write_repository
from maclip_runtime.bundle.manifest import Limit
from maclip_runtime.errors import MaclipError

UNNAMED = (
    "The run does not use names (training gave none, or they did not help on validation classes): devices enroll "
    "clips without them unless --text is given. The accuracy above is measured with names."
)


def export(
    run: str | Path | Run | MaClip,
    out: str | Path,
    options: ExportOptions | None = None,
    *,
    note: Callable[[str], None] = lambda text: None,
) -> Report:
    """Write `run` as a bundle into the folder `out`; returns what was measured on the way.

    run: a run folder or an opened run, or a model in memory (it is exported on the CPU and given back as it was).
    out: the new folder. It appears whole, after all checks, or not at all.
    options: default: float32, nothing beside the graphs and names.
    note: called with a sentence at each step.

    Raises `output-exists`, `output-unwritable`, `option-invalid`, `precision-rejected` (unless `allow_loss`), and what
    opening the run, reading clips and building engines raise.
    """
    out, options = Path(out), options or ExportOptions()
    check_places(out, options)
    own: Callable[[], Dataset] | None = None
    limit: Limit | None = None
    names_used = True
    origin: Origin | None = None
    if isinstance(run, MaClip):
        _refuse_pretrained(options)
        model = run
        names = vocabulary(None, options.names or default_names(model.backbone.name))
    else:
        note("loading")
        model, config, origin = load_run(run, options.pretrained)
        own = partial(_own_data, config)
        limit = config.chosen.limit if config.chosen else None
        names_used = config.support_names == "own"
        names = vocabulary(config.names, options.names)
    note("reading clips")
    clips = choose_clips(model, options, own)
    material = Material(names, clips.gate, clips.calibration, limit, names_used, origin)
    report = write_bundle(model, out, material, options, note)
    if options.triton is not None:
        note("writing the model repository")
        write_repository(out, Path(options.triton), options.force)
    return dataclasses.replace(report, notes=(*clips.notes, *(() if names_used else (UNNAMED,))))


def check_places(out: Path, options: ExportOptions) -> None:
    """Check what needs no model, before one is loaded.

    Raises `output-exists`, `output-unwritable`, `option-invalid`, `device-missing` and `precision-unsupported`.
    """
    triton = None if options.triton is None else Path(options.triton)
    for folder in (out, triton):
        if folder is not None:
            refuse_existing(folder, options.force)
    if triton is not None and _overlap(out.resolve(), triton.resolve()):
        raise MaclipError("option-invalid", f"{triton} and {out} overlap.", "Choose two separate folders.")
    if options.rtx:
        check_rtx(options.precision, options.quantization)


def _own_data(config: RunConfig) -> Dataset:
    """The classes that a run was trained with, in the splits of that training. Raises what `open_data` raises.

    A dataset that was built in memory may have other splits than its folder.
    """
    splits = {name: split for split in SPLITS for name in getattr(config.names, split)}
    data = open_data(Path(config.data), config.lists)
    return dataclasses.replace(
        data, classes=tuple(dataclasses.replace(c, split=splits.get(c.name, c.split)) for c in data.classes)
    )


def _overlap(a: Path, b: Path) -> bool:
    """Whether one folder is the other or inside it. A bundle holds only files that its manifest lists."""
    return a.is_relative_to(b) or b.is_relative_to(a)


def _refuse_pretrained(options: ExportOptions) -> None:
    if options.pretrained is not None:
        raise MaclipError(
            "option-invalid", "A model in memory has its weights already.", "Leave out pretrained; it is for runs."
        )
