"""Query features of windows as bytes: their slow change over time in 8 bits a number, the fast change in 6.

A discrete cosine transform along time (orthonormal, so no error grows) turns T frames into T coefficients; each is
scaled to whole numbers of its own. The fast half changes little, so 6 bits cost less accuracy there than one bit less
everywhere would. For ViT-B/16 (T = 8, D' = 512) a window takes 3.6 KB, and the mean that the coarse pass of a search
reads 0.5 KB more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maclip_runtime.reading.frames import Floats

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int8]

SLOW_MAX, FAST_MAX = 127, 31  # the largest whole number of 8 and of 6 bits, with a sign
FAST_OFFSET = 32  # makes the 6 bits unsigned
TINY = 1e-30  # of a scale: all numbers are zero


@dataclass(frozen=True)
class Packed:
    """B packed windows. What is not finite has scales that are not a number, and so has what is unpacked from it.

    Attributes:
        mean: int8 [B, D'], the mean over time of what matching compares, each frame of length 1.
        mean_scale: float32 [B].
        slow: int8 [B, ceil(T / 2), D'].
        fast: uint8 [B, bytes], four numbers of 6 bits in three bytes.
        scales: float32 [B, T].
    """

    mean: Integers
    mean_scale: Floats
    slow: Integers
    fast: Bytes
    scales: Floats


class Packing:
    """Packs and unpacks windows of T = `frames` frames with `width` D' features each."""

    def __init__(self, frames: int, width: int) -> None:
        self.frames, self.width = frames, width
        self.slow_rows = frames - frames // 2
        self._fast = (frames // 2) * width  # numbers of 6 bits
        self._groups = -(-self._fast // 4)
        self._transform = _cosines(frames)

    @property
    def fast_bytes(self) -> int:
        """Bytes of a window's `fast`."""
        return 3 * self._groups

    def pack(self, features: Floats, compared: Floats) -> Packed:
        """Pack query features [B, T, D']; `compared` [B, T, D'] is what matching makes of them (see `mean_of`)."""
        coefficients = np.einsum("kt,btd->bkd", self._transform, features)
        slow, fast = coefficients[:, : self.slow_rows], coefficients[:, self.slow_rows :]
        whole_slow, slow_scales = _whole(slow, SLOW_MAX)
        whole_fast, fast_scales = _whole(fast, FAST_MAX)
        mean, mean_scale = _whole(mean_of(compared), SLOW_MAX)
        scales = np.concatenate([slow_scales, fast_scales], axis=1)
        return Packed(mean, mean_scale, whole_slow, self._squeezed(whole_fast), scales)

    def unpack(self, slow: Integers, fast: Bytes, scales: Floats) -> Floats:
        """The query features, float32 [B, T, D'], of the arrays of `Packed`."""
        coefficients = np.concatenate([slow, self._spread(fast)], axis=1, dtype=np.float32)
        coefficients *= scales[..., None]
        features: Floats = np.matmul(self._transform.T, coefficients)
        return features

    def _squeezed(self, fast: Integers) -> Bytes:
        """Numbers of 6 bits, int8 [B, T // 2, D'], as bytes [B, fast_bytes]."""
        flat = np.full((len(fast), 4 * self._groups), FAST_OFFSET, np.uint8)
        flat[:, : self._fast] = (fast.reshape(len(fast), self._fast) + FAST_OFFSET).astype(np.uint8)
        a, b, c, d = np.moveaxis(flat.reshape(len(fast), 4, self._groups), 1, 0)
        return np.concatenate([a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d], axis=1)

    def _spread(self, packed: Bytes) -> Integers:
        a, b, c = np.moveaxis(packed.reshape(len(packed), 3, self._groups), 1, 0)
        flat = np.concatenate([a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63], axis=1)
        numbers = flat[:, : self._fast].astype(np.int8) - FAST_OFFSET
        return numbers.reshape(len(packed), self.frames // 2, self.width)


def mean_of(compared: Floats) -> Floats:
    """The mean over time of features [B, T, D'], each frame scaled to length 1: float32 [B, D'].

    Metrics compare frames by their cosines. The dot product of two such means is the mean cosine over all pairs of
    frames, which a coarse pass ranks windows by.
    """
    lengths = np.linalg.norm(compared, axis=-1, keepdims=True)
    mean: Floats = (compared / np.maximum(lengths, TINY)).mean(axis=1)
    return mean


def _whole(numbers: Floats, largest: int) -> tuple[Integers, Floats]:
    """Whole numbers up to `largest` for [..., D], and the scale of each row [...] that gives the numbers back."""
    with np.errstate(invalid="ignore"):
        scales = np.maximum(np.abs(numbers).max(axis=-1) / largest, TINY).astype(np.float32)
        whole = np.rint(numbers / scales[..., None])
    sound = np.isfinite(scales)
    return np.where(sound[..., None], whole, 0).astype(np.int8), np.where(sound, scales, np.float32(np.nan))


def _cosines(frames: int) -> Floats:
    """The orthonormal cosine transform [T, T]: row k is the k-th coefficient's weights of the frames."""
    time = (np.arange(frames) + 0.5) / frames
    rows = np.cos(np.pi * np.arange(frames)[:, None] * time) * np.sqrt(2 / frames)
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)
