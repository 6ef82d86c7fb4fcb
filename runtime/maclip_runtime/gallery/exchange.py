"""A gallery as one file for other machines: a ZIP of JSON, safetensors and JPEGs. An import trusts none of it.

`gallery.json` describes the clips; `clips/N.safetensors` holds the features of clip N, `clips/N.jpg` its thumbnail.
Nothing is unpacked to disk. Members are stored, not compressed, so that nothing can expand. All that is read is checked
and has a bound before it is stored.
"""

from __future__ import annotations

import json
import os
import secrets
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

from safetensors.numpy import save

from maclip_runtime import values
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.errors import empty
from maclip_runtime.gallery.exported import (
    FORMAT,
    FORMAT_VERSION,
    INDEX,
    MAX_CLIPS,
    BoundedFile,
    ExportedGallery,
    corrupt,
)
from maclip_runtime.gallery.rows import NEGATIVE, ClassLimit, EnrolledClip
from maclip_runtime.gallery.store import Gallery


@dataclass(frozen=True)
class Imported:
    """What an import did.

    added: how many clips were added, negatives included.
    skipped: how many were there already.
    negatives: how many of those added are negatives.
    classes: names of the classes that got clips.
    joined: which of these were there before, so that their answers change.
    limits: how many calibrated limits were added.
    left: names of the classes of the file that `new_only` left out.
    """

    added: int
    skipped: int
    negatives: int
    classes: tuple[str, ...]
    joined: tuple[str, ...]
    limits: int
    left: tuple[str, ...] = ()


def export_gallery(gallery: Gallery, file: str | PathLike[str]) -> int:
    """Write all clips, negatives and calibrated limits to a new file, or nothing; returns how many clips.

    Raises `gallery-empty`, `output-exists`, `output-unwritable`.
    """
    file = Path(values.path(file, "file"))
    if os.path.lexists(file):
        raise MaclipError("output-exists", f"{file} exists already.", "Choose another name, or remove it first.")
    clips = [*gallery.clips(), *gallery.negatives()]
    if not clips:
        raise empty(gallery.path)
    if len(clips) > MAX_CLIPS:
        raise _unwritten(file, f"the gallery has {len(clips)} clips, and a file holds {MAX_CLIPS}")
    limits = list(gallery.limits().values())
    # In the same folder, so that it can be renamed in one step.
    part = file.with_name(f".maclip-{secrets.token_hex(8)}.part")
    made = None
    try:
        # With the mode that umask says, as any new file has; those of `tempfile` are for their owner only.
        with part.open("xb") as raw:
            made = part
            write_archive(raw, gallery.contract, clips, limits)
        os.replace(made, file)
        made = None
    except OSError as error:
        raise _unwritten(file, str(error.strerror)) from error
    finally:
        if made:
            with suppress(OSError):
                os.unlink(made)
    return len(clips)


def write_archive(
    raw: BinaryIO, contract: str | None, clips: Sequence[EnrolledClip], limits: Sequence[ClassLimit]
) -> None:
    """Write clips and limits as `ExportedGallery` reads them; the same ones give the same bytes. Raises OSError."""
    index = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "contract": contract,
        "clips": [_facts(clip) for clip in clips],
        "limits": [_limit_facts(limit) for limit in limits],
    }
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(INDEX), json.dumps(index, ensure_ascii=False))
        for number, clip in enumerate(clips):
            archive.writestr(zipfile.ZipInfo(f"clips/{number}.safetensors"), save(_arrays(clip)))
            archive.writestr(zipfile.ZipInfo(f"clips/{number}.jpg"), clip.thumbnail)


def import_gallery(gallery: Gallery, file: str | PathLike[str], *, new_only: bool = False) -> Imported:
    """Add the clips of an exported file, all or none.

    A clip with the same frames as one in its class is skipped. Clips of a class that exists join it, and so change its
    answers: `Imported.joined` names these classes. A calibrated limit is added where the class had none; it applies
    while the class's clips are those with which it was measured.

    new_only: add only the classes that the gallery has not, and negatives only to an empty gallery, so that nothing
        that is recognised already changes.

    Raises `import-corrupt` for anything that an export does not write, `contract-mismatch`, `output-unwritable`.
    """
    file, new_only = Path(values.path(file, "file")), values.flag(new_only, "new_only")
    try:
        if file.exists() and not file.is_file():  # reading a pipe would block
            raise corrupt(file, "it is not a file")
        with BoundedFile(file) as raw, zipfile.ZipFile(raw) as archive:
            raw.opened = True
            reader = ExportedGallery(file, archive, file.stat().st_size)
            return _keep(gallery, reader, new_only)
    except (OSError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise corrupt(file, f"it cannot be read ({error})") from error


def _unwritten(file: Path, why: str) -> MaclipError:
    return MaclipError(
        "output-unwritable", f"{file} cannot be written ({why}).", "Give a folder that you may write to."
    )


def _keep(gallery: Gallery, reader: ExportedGallery, new_only: bool) -> Imported:
    shapes = {(clip["frames"], clip["width"]) for clip in map(reader.checked, range(len(reader.facts)))}
    if len(shapes) != 1:
        raise corrupt(reader.file, f"its clips have {len(shapes)} different shapes")
    added: list[str] = []
    skipped = 0
    left: list[str] = []
    with gallery.importing(reader.contract, shapes.pop()) as importing:
        for number in range(len(reader.facts)):
            clip = importing.spelled(reader.clip(number))
            if new_only and importing.changes(clip.class_name):
                left.append(clip.class_name)
            elif importing.clip(clip):
                added.append(clip.class_name)
            else:
                skipped += 1
        limits = sum(importing.limit(limit, new_only=new_only) for limit in reader.limits)
    classes = tuple(dict.fromkeys(name for name in added if name != NEGATIVE))
    return Imported(
        len(added),
        skipped,
        added.count(NEGATIVE),
        classes,
        tuple(name for name in classes if importing.changes(name)),
        limits,
        tuple(dict.fromkeys("negatives" if name == NEGATIVE else name for name in left)),
    )


def _facts(clip: EnrolledClip) -> dict[str, Any]:
    frames, width = clip.features.shape
    return {
        "class": clip.class_name if clip.class_name != NEGATIVE else None,
        "text_name": clip.text_name,
        "digest": clip.digest,
        "source": clip.source,
        "duration_s": clip.duration_s,
        "quality": clip.quality,
        "forced": list(clip.forced),
        "enrolled_at": clip.enrolled_at,
        "frames": frames,
        "width": width,
    }


def _limit_facts(limit: ClassLimit) -> dict[str, Any]:
    return {
        "class": limit.class_name,
        "value": limit.value,
        "clips": limit.clips,
        "graphs": limit.graphs,
        "calibrated_at": limit.calibrated_at,
        "facts": limit.facts,
    }


def _arrays(clip: EnrolledClip) -> dict[str, Any]:
    arrays = {"features": clip.features, "query": clip.query}
    return arrays if clip.text is None else {**arrays, "text": clip.text}
