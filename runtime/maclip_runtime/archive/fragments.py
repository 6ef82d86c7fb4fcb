"""Fragments: Arrow files of windows, written once and never changed, and read by mapping them into memory.

Parquet would have to be decoded into memory of its own at each search; an Arrow file is read where it lies.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maclip_runtime.archive.arrow import arrow
from maclip_runtime.archive.packing import Bytes, Integers, Packed, Packing
from maclip_runtime.archive.videos import Video
from maclip_runtime.errors import MaclipError, first_line
from maclip_runtime.reading.frames import Floats

FORMAT, VERSION = "maclip-archive", 1
KEY = b"maclip"  # in the metadata of a fragment's schema
SUFFIX, TORN_SUFFIX, PART_SUFFIX = ".arrow", ".torn", ".part"
MAX_MAPPED = 4096  # fragments that a worker keeps open
TIMES = ("start_s", "end_s", "covers_from_s", "covers_to_s")

Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What all windows of a store have in common: the bundle's contract, T, D', and how windows are cut."""

    contract: str
    frames: int
    width: int
    window_s: float
    hop: int  # grid points


@dataclass(frozen=True)
class Record:
    """What a fragment says of a video.

    Attributes:
        video: the video.
        windows: how many windows it has, None while it is not known to be complete.
        end_s: when it ends, in its own time; None likewise.
        lost: windows that do not continue the one before, by their number, each with the time at which that one's part
            of the video ended.
    """

    video: Video
    windows: int | None = None
    end_s: float | None = None
    lost: tuple[tuple[int, float], ...] = ()


@dataclass
class Rows:
    """B windows: which of the fragment's records each belongs to, its number in the video, and its times [B, 4]."""

    video: npt.NDArray[np.uint16]
    number: npt.NDArray[np.int32]
    times: Seconds


@dataclass(frozen=True)
class Fragment:
    """An opened fragment; `arrays` refer to the mapped file."""

    path: Path
    settings: Settings
    records: tuple[Record, ...]
    rows: Rows
    arrays: Packed = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows.number)

    def __reduce__(self) -> tuple[Callable[[Path], Fragment], tuple[Path]]:
        """Another process maps the file itself."""
        return _mapped, (self.path.resolve(),)


class TornFragment(Exception):
    """A fragment that is cut off or damaged; the message says how."""


def write_fragment(
    folder: Path, number: int, settings: Settings, records: Sequence[Record], rows: Rows, packed: Packed
) -> Path:
    """Write a fragment: it is there whole after a power cut, or not at all. Raises OSError."""
    pa = arrow()
    said = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(settings)}
    said["videos"] = [dataclasses.asdict(record) for record in records]
    columns = {
        "video": pa.array(rows.video),
        "number": pa.array(rows.number),
        **{name: pa.array(rows.times[:, place]) for place, name in enumerate(TIMES)},
        **{one.name: _binary(pa, getattr(packed, one.name)) for one in dataclasses.fields(Packed)},
    }
    table = pa.table(columns).replace_schema_metadata({KEY: json.dumps(said).encode()})
    path = folder / f"{number:08d}{SUFFIX}"
    part = folder / f"{secrets.token_hex(8)}{PART_SUFFIX}"
    try:
        with part.open("xb") as file:
            with pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table.combine_chunks())
            file.flush()
            os.fsync(file.fileno())
        os.rename(part, path)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(folder)
    return path


def read_fragment(path: Path) -> Fragment:
    """Map a fragment into memory.

    Raises `TornFragment`, `archive-corrupt` for a file of another program or a newer maclip, OSError where the disk
    fails.
    """
    pa = arrow()
    if not path.stat().st_size:
        raise TornFragment("it is empty")
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        said = json.loads((reader.schema.metadata or {})[KEY])
        batch = reader.get_batch(0) if reader.num_record_batches else None
    except (pa.ArrowInvalid, KeyError, ValueError) as error:
        raise TornFragment(str(error).splitlines()[0][:200] or type(error).__name__) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise TornFragment(str(error).splitlines()[0][:200]) from error  # Arrow's own: the file is too short
    if said.get("format") != FORMAT or said.get("version") != VERSION:
        raise MaclipError(
            "archive-corrupt",
            f"{path} is not a fragment of this version of maclip ({said.get('format')}, {said.get('version')}).",
            "Use the maclip that wrote it, or give another --store.",
        )
    try:
        settings = Settings(*(said[one.name] for one in dataclasses.fields(Settings)))
        records = tuple(_record(one) for one in said["videos"])
        rows, packed = _arrays(batch, settings)
        if (rows.video >= len(records)).any():
            raise ValueError("a window belongs to no video")
        return Fragment(path, settings, records, rows, packed)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise TornFragment(f"{type(error).__name__}: {error}") from error


@lru_cache(MAX_MAPPED)
def _mapped(path: Path) -> Fragment:
    try:
        return read_fragment(path)
    except (OSError, TornFragment) as error:
        raise MaclipError(
            "archive-unreadable",
            f"A worker cannot read {path} ({first_line(error)}).",
            "Keep the store in a folder that every machine of the cluster has under the same path.",
        ) from error


def _arrays(batch: Any, settings: Settings) -> tuple[Rows, Packed]:
    count, packing = (batch.num_rows if batch else 0), Packing(settings.frames, settings.width)

    def plain(name: str) -> Any:
        return batch.column(name).to_numpy() if count else np.zeros(0)

    def binary(name: str, dtype: Any, *shape: int) -> Any:
        if not count:
            return np.zeros((0, *shape), dtype)
        column = batch.column(name)
        size = column.type.byte_width
        found = np.frombuffer(column.buffers()[1], np.uint8, count * size, column.offset * size)
        return found.view(dtype).reshape(count, *shape)

    rows = Rows(
        plain("video").astype(np.uint16), plain("number").astype(np.int32),
        np.stack([plain(name) for name in TIMES], axis=1).astype(np.float64),
    )  # fmt: skip
    mean: Integers = binary("mean", np.int8, settings.width)
    mean_scale: Floats = plain("mean_scale").astype(np.float32)
    slow: Integers = binary("slow", np.int8, packing.slow_rows, settings.width)
    fast: Bytes = binary("fast", np.uint8, packing.fast_bytes)
    scales: Floats = binary("scales", np.float32, settings.frames)
    return rows, Packed(mean, mean_scale, slow, fast, scales)


def _binary(pa: Any, array: npt.NDArray[Any]) -> Any:
    """An array [B, ...] as a column: of numbers, or of B values of equal size."""
    if array.ndim == 1:
        return pa.array(array)
    flat = np.ascontiguousarray(array)
    size = flat[:1].nbytes or int(np.prod(flat.shape[1:])) * flat.itemsize
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), len(flat), [None, pa.py_buffer(flat)])


def _record(said: dict[str, Any]) -> Record:
    lost = tuple((int(number), float(time_s)) for number, time_s in said["lost"])
    return Record(Video(**said["video"]), said["windows"], said["end_s"], lost)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
