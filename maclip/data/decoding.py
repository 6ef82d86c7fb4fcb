"""Which library decodes videos for training: PyAV, or decord where it is asked for and gives the same frames.

decord is no longer kept (0.6.0 of 2021, with an FFmpeg 4), and seeks to frames that it does not always find: of clips
with an edit list, of 10 bits, of MPEG program streams, and where pictures are shown before the key frame that they
follow (open groups, intra refresh, MPEG-4 in AVI with B frames) it brings other pictures without a word. On whole
clips it saves little (benchmarks/decoders.py). So PyAV is the default, and decord reads only what was seen to agree.
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
# What decord was seen to read as PyAV does, frame for frame: containers, codecs and pixels.
AGREED_CONTAINERS = {"mov,mp4,m4a,3gp,3g2,mj2", "avi", "matroska,webm"}
AGREED_CODECS = {"h264", "mpeg4", "vp8", "vp9"}
AGREED_PIXELS = {"yuv420p", "yuvj420p"}
FRAMES_AT_ONCE = 16  # full-size pictures that decord holds

ReadClip = Callable[[Path, Choose, "Transform | None"], Clip]


def reader(decoder: str) -> ReadClip:
    """`read_clip` by `decoder`. Raises `option-invalid` and `decoder-missing`."""
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
    """What a cache of frames is keyed on: another decoder, or another version of it, might bring other pixels."""
    return f"{decoder} {version({'pyav': 'av'}.get(decoder, decoder))}"


@dataclass(frozen=True)
class _Found:
    """What the container says, and whether decord would bring the frames that PyAV brings."""

    total: int
    duration_s: float
    agreed: bool


def _read_by_decord(path: Path, choose: Choose, transform: Transform | None = None) -> Clip:
    """As `read_clip`; whatever decord cannot be trusted with, PyAV reads."""
    if path.is_dir():
        return read_clip(path, choose, transform)
    found = _look(path)
    chosen: dict[int, Indices] = {}

    def once(total: int) -> Indices:  # a random choice must not be made twice where decord fails
        if total not in chosen:
            chosen[total] = np.asarray(choose(total), dtype=np.int64)
        return chosen[total]

    if found.agreed and len(once(found.total)) <= found.total:
        indices = once(found.total)
        frames = _decode(path, sorted(set(indices.tolist())), found.total, transform)
        if frames and len({frame.shape for frame in frames.values()}) == 1:
            stacked = np.stack([frames[index] for index in indices.tolist()])
            return Clip(stacked, indices, found.total, found.duration_s, path)
    return read_clip(path, once, transform)


def _decode(path: Path, wanted: list[int], total: int, transform: Transform | None) -> dict[int, Pixels]:
    """The frames `wanted` by index; none where decord fails or counts otherwise."""
    import decord

    frames: dict[int, Pixels] = {}
    try:
        # An absolute path is no protocol. Any frame that had to be made up is an error.
        clip: Any = decord.VideoReader(str(path.absolute()), num_threads=1, fault_tol=1e-9)
        if len(clip) != total:
            return {}
        for at in range(0, len(wanted), FRAMES_AT_ONCE):
            some = wanted[at : at + FRAMES_AT_ONCE]
            for index, pixels in zip(some, clip.get_batch(some).asnumpy(), strict=True):
                frames[index] = transform(pixels) if transform else pixels
    except (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, AssertionError, IndexError):
        return {}
    return frames


def _look(path: Path) -> _Found:
    """Read the packets' headers, and one picture for how it is turned. Raises `clip-unreadable`."""
    container, stream = video.open_file(path)
    with container:
        context: Any = stream.codec_context
        agreed = (
            container.format.name in AGREED_CONTAINERS
            and context.name in AGREED_CODECS
            and context.pix_fmt in AGREED_PIXELS
        )
        if not agreed:
            return _Found(0, 0.0, False)
        total = video.count_packets(container, stream)
        duration = video.duration_s(container, stream, total)
    container, stream = video.open_file(path)
    with container:
        agreed = _seekable(container.demux(stream))
    container, stream = video.open_file(path)
    with container:
        first = next(video.decode(container, stream), None)
        agreed = agreed and first is not None and video.orientation(first) == video.UPRIGHT
    return _Found(total, duration, agreed)


def _seekable(packets: Iterable[av.packet.Packet[Any]]) -> bool:
    """Whether every packet is shown, and none before the key frame that it follows."""
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
