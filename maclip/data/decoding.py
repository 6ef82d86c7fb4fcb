"""Video decoders for training: PyAV, or decord for clips of which it returns the same frames.

decord is unmaintained (0.6.0, 2021, with FFmpeg 4), and its seeking is unreliable: for clips with an edit list, 10-bit
clips, MPEG program streams, and clips with frames that are shown before the key frame that precedes them (open GOPs,
intra refresh, MPEG-4 in AVI with B frames) it silently returns other frames. On whole clips it saves little time
(benchmarks/decoders.py). PyAV is therefore the default, and decord reads only formats for which the two were compared
and agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.reading import video
from maclip_runtime.reading.clip import Choose, Clip, Transform, read_clip
from maclip_runtime.reading.frames import Indices, Pixels

if TYPE_CHECKING:
    import av.packet

DECODERS = ("pyav", "decord")
# Containers, codecs and pixel formats for which decord returns the same frames as PyAV.
DECORD_CONTAINERS = {"mov,mp4,m4a,3gp,3g2,mj2", "avi", "matroska,webm"}
DECORD_CODECS = {"h264", "mpeg4", "vp8", "vp9"}
DECORD_PIXEL_FORMATS = {"yuv420p", "yuvj420p"}
FRAMES_PER_READ = 16  # full-size frames that decord holds in memory

ReadClip = Callable[[Path, Choose, "Transform | None"], Clip]


def reader(decoder: str) -> ReadClip:
    """The function that reads clips with `decoder`. Raises `option-invalid` and `decoder-missing`."""
    if decoder == "pyav":
        return read_clip
    if decoder != "decord":
        raise MaclipError("option-invalid", f"There is no decoder {decoder!r}.", f"Use {' or '.join(DECODERS)}.")
    try:
        import decord
    except (ImportError, OSError, RuntimeError) as error:
        raise MaclipError(
            "decoder-missing",
            f"decord cannot be used here ({type(error).__name__}).",
            "Use --decoder pyav, which gives the same frames, or pip install 'maclip[train]'.",
            EXIT_MACHINE_LACKS,
        ) from error
    decord.logging.set_level(decord.logging.QUIET)
    return _read_by_decord


def decoder_version(decoder: str) -> str:
    """Name and version of `decoder`, for cache keys: another decoder or version may return other pixels."""
    return f"{decoder} {version({'pyav': 'av'}.get(decoder, decoder))}"


@dataclass(frozen=True)
class _Probe:
    """What the container declares, and whether decord returns the same frames as PyAV."""

    total: int
    duration_s: float
    use_decord: bool


def _read_by_decord(path: Path, choose: Choose, transform: Transform | None = None) -> Clip:
    """Like `read_clip`; PyAV reads the clips for which decord is not reliable."""
    if path.is_dir():
        return read_clip(path, choose, transform)
    found = _probe(path)
    chosen: dict[int, Indices] = {}

    def once(total: int) -> Indices:  # no second random draw when decord fails and PyAV reads
        if total not in chosen:
            chosen[total] = np.asarray(choose(total), dtype=np.int64)
        return chosen[total]

    if found.use_decord and len(once(found.total)) <= found.total:
        indices = once(found.total)
        frames = _decode(path, sorted(set(indices.tolist())), found.total, transform)
        if frames and len({frame.shape for frame in frames.values()}) == 1:
            stacked = np.stack([frames[index] for index in indices.tolist()])
            return Clip(stacked, indices, found.total, found.duration_s, path)
    return read_clip(path, once, transform)


def _decode(path: Path, wanted: list[int], total: int, transform: Transform | None) -> dict[int, Pixels]:
    """The frames `wanted` by index; empty if decord fails or reports another number of frames."""
    import decord

    frames: dict[int, Pixels] = {}
    try:
        # Absolute, so that the path is not parsed as a URL. fault_tol: any frame that decord substitutes is an error.
        clip: Any = decord.VideoReader(str(path.absolute()), num_threads=1, fault_tol=1e-9)
        if len(clip) != total:
            return {}
        for at in range(0, len(wanted), FRAMES_PER_READ):
            some = wanted[at : at + FRAMES_PER_READ]
            for index, pixels in zip(some, clip.get_batch(some).asnumpy(), strict=True):
                frames[index] = transform(pixels) if transform else pixels
    except (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, AssertionError, IndexError):
        return {}
    return frames


def _probe(path: Path) -> _Probe:
    """Read the packet headers, and one frame for its orientation. Raises `clip-unreadable`."""
    container, stream = video.open_file(path)
    with container:
        context: Any = stream.codec_context
        agreed = (
            container.format.name in DECORD_CONTAINERS
            and context.name in DECORD_CODECS
            and context.pix_fmt in DECORD_PIXEL_FORMATS
        )
        if not agreed:
            return _Probe(0, 0.0, False)
        total, duration = video.extent(container, stream)
    container, stream = video.open_file(path)
    with container:
        agreed = _seekable(container.demux(stream))
    container, stream = video.open_file(path)
    with container:
        first = next(video.decode(container, stream), None)
        agreed = agreed and first is not None and video.orientation(first) == video.UPRIGHT
    return _Probe(total, duration, agreed)


def _seekable(packets: Iterable[av.packet.Packet[Any]]) -> bool:
    """Whether every packet is displayed, and none before the key frame that precedes it."""
    import av

    key = None
    try:
        for packet in packets:
            if not packet.size:
                continue
            if packet.is_discard or packet.pts is None:
                return False
            if packet.is_keyframe:
                key = packet.pts
            elif key is None or packet.pts < key:
                return False
    except (av.error.FFmpegError, OSError):
        return False
    return key is not None
