"""Sample, resize and crop frames for the model: the only code that does so.

Training, evaluation, enrolment and streams all use it, because two ways of resizing would silently cost accuracy.
Pixels stay uint8 RGB; normalization is part of the exported graphs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

# Training resizes the short side to 256 and crops 224 (docs/method.md, section 1); other sizes keep that ratio.
RESIZE_RATIO = 256 / 224
MAX_ASPECT = 32  # long side over short side; more than any camera's


@dataclass(frozen=True)
class Preprocess:
    """How a camera's frame is prepared for the model.

    `resize` is the short side in px before a crop of `size` x `size` px; None: the whole frame is squashed to that
    square, as SigLIP and CLIPA were trained. `mean` and `std` are per channel, for pixels scaled to 0..1, and applied
    inside the graphs.
    """

    size: int
    resize: int | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def for_size(
        cls, size: int, mean: tuple[float, float, float], std: tuple[float, float, float], squash: bool = False
    ) -> Preprocess:
        """The standard preparation for a model with inputs of `size` x `size` px."""
        return cls(size, None if squash else round(size * RESIZE_RATIO), mean, std)


def segment_indices(total: int, frames: int, rng: np.random.Generator | None = None) -> Indices:
    """Sparse sampling (docs/method.md, section 1): one index from each of `frames` equal segments of `total` frames.

    Returns int64 [frames], ascending: the centre of each segment, or with `rng` a random position in it. Indices repeat
    where `total` < `frames`.
    """
    offset = rng.random(frames) if rng is not None else np.full(frames, 0.5)
    return np.minimum(((np.arange(frames) + offset) * total / frames).astype(np.int64), total - 1)


def resize_short(frame: Pixels, short: int) -> Pixels:
    """Resize uint8 [H, W, 3] to a short side of `short` px (bicubic and antialiased, as CLIP does).

    Of a frame with an aspect ratio above MAX_ASPECT only the middle is kept.
    """
    from PIL import Image

    frame = _limit_aspect(frame)
    height, width = frame.shape[:2]
    if min(height, width) == short:
        return frame
    return np.asarray(Image.fromarray(frame).resize(_resized(width, height, short), Image.Resampling.BICUBIC))


def resize_to_crop(frame: Pixels, preprocess: Preprocess) -> Pixels:
    """Resize uint8 [H, W, 3] for the random `size` px crops of training: to 256 px for 224 (docs/method.md, section 1).

    The short side becomes 256 px, or both sides where `preprocess` squashes.
    """
    from PIL import Image

    if preprocess.resize is not None:
        return resize_short(frame, preprocess.resize)
    side = round(preprocess.size * RESIZE_RATIO)
    return np.asarray(Image.fromarray(_limit_aspect(frame)).resize((side, side), Image.Resampling.BICUBIC))


def _resized(width: int, height: int, short: int) -> tuple[int, int]:
    scale = short / min(height, width)
    return max(short, round(width * scale)), max(short, round(height * scale))


def _limit_aspect(frame: Pixels) -> Pixels:
    """The middle of a frame that is too long: 1 x 60,000 px would be gigabytes once its short side is resized."""
    height, width = frame.shape[:2]
    max_side = MAX_ASPECT * min(height, width)
    if max(height, width) <= max_side:
        return frame
    top, left = max(0, height - max_side) // 2, max(0, width - max_side) // 2
    return frame[top : top + max_side, left : left + max_side]


def crop(frame: Pixels, size: int, top: int, left: int) -> Pixels:
    """The `size` x `size` px square of uint8 [..., H, W, 3] with its corner at (`top`, `left`)."""
    return frame[..., top : top + size, left : left + size, :]


def center_crop(frame: Pixels, size: int) -> Pixels:
    """The centre `size` x `size` px square of uint8 [..., H, W, 3]."""
    height, width = frame.shape[-3:-1]
    return crop(frame, size, (height - size) // 2, (width - size) // 2)


def prepare(frame: Pixels, preprocess: Preprocess) -> Pixels:
    """Prepare one camera frame, uint8 [H, W, 3] RGB, for the model: uint8 [size, size, 3].

    The centre crop of `resize_short`, or squashed where `preprocess` says so. Only the crop is computed, which takes
    half the time. Values differ by at most 1 from cropping afterwards, except in very long frames, where Pillow may
    resize the columns first.
    """
    from PIL import Image

    frame, size = _limit_aspect(frame), preprocess.size
    if preprocess.resize is None:
        return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC))
    height, width = frame.shape[:2]
    to_width, to_height = _resized(width, height, preprocess.resize)
    if (to_width, to_height) == (width, height):
        return center_crop(frame, size)
    left, top = (to_width - size) // 2, (to_height - size) // 2
    across, down = width / to_width, height / to_height
    # Rounding must not lead outside the frame.
    right, bottom = min((left + size) * across, width), min((top + size) * down, height)
    box = (left * across, top * down, right, bottom)
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC, box))
