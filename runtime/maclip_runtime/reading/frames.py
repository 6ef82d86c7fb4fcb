"""Frames as the model sees them: sampled, resized and cropped by this one piece of code everywhere.

Training, evaluation, enrolment and streams all come through here; two ways of resizing would be a silent
loss of accuracy. Pixels stay bytes (uint8 RGB): normalisation is part of the exported graphs.
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
MOST_STRETCHED = 32  # how many times its short side a frame's long side may be; no camera comes near


@dataclass(frozen=True)
class Preprocess:
    """How a camera's frame becomes the model's: short side to `resize` px, then a `size` x `size` px crop.

    Where `resize` is None the whole frame is squashed to that square, as SigLIP and CLIPA have learned to see.
    `mean` and `std` are per channel, for pixels scaled to 0..1; they are applied inside the graphs.
    """

    size: int
    resize: int | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def for_size(
        cls, size: int, mean: tuple[float, float, float], std: tuple[float, float, float], squash: bool = False
    ) -> Preprocess:
        """The standard preparation for a model that takes `size` px squares."""
        return cls(size, None if squash else round(size * RESIZE_RATIO), mean, std)


def segment_indices(total: int, frames: int, rng: np.random.Generator | None = None) -> Indices:
    """Sparse sampling (docs/method.md, section 1): cut `total` frames into `frames` segments, one index each.

    Returns int64 [frames], ascending: the centre of each equal segment, or with `rng` a place in it.
    Where `total` < `frames` some indices repeat; callers that mind refuse the clip first.
    """
    offset = rng.random(frames) if rng is not None else np.full(frames, 0.5)
    return np.minimum(((np.arange(frames) + offset) * total / frames).astype(np.int64), total - 1)


def resize_short(frame: Pixels, short: int) -> Pixels:
    """Resize uint8 [H, W, 3] so that its short side is `short` px (bicubic, antialiased as CLIP's own).

    Of a strip longer than 32 times its short side only the middle is kept.
    """
    from PIL import Image

    frame = _middle(frame)
    height, width = frame.shape[:2]
    if min(height, width) == short:
        return frame
    return np.asarray(Image.fromarray(frame).resize(_resized(width, height, short), Image.Resampling.BICUBIC))


def resize_to_crop(frame: Pixels, preprocess: Preprocess) -> Pixels:
    """What training cuts its random `size` px square from: a little more than that of uint8 [H, W, 3].

    Cut or squashed, a frame is 256 px for a square of 224 (docs/method.md, section 1).
    """
    from PIL import Image

    if preprocess.resize is not None:
        return resize_short(frame, preprocess.resize)
    side = round(preprocess.size * RESIZE_RATIO)
    return np.asarray(Image.fromarray(_middle(frame)).resize((side, side), Image.Resampling.BICUBIC))


def _resized(width: int, height: int, short: int) -> tuple[int, int]:
    scale = short / min(height, width)
    return max(short, round(width * scale)), max(short, round(height * scale))


def _middle(frame: Pixels) -> Pixels:
    """The middle of a strip: one pixel by 60,000 would be gigabytes once its short side is resized."""
    height, width = frame.shape[:2]
    longest = MOST_STRETCHED * min(height, width)
    if max(height, width) <= longest:
        return frame
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    return frame[top : top + longest, left : left + longest]


def crop(frame: Pixels, size: int, top: int, left: int) -> Pixels:
    """The `size` x `size` px square of uint8 [..., H, W, 3] whose corner is (`top`, `left`)."""
    return frame[..., top : top + size, left : left + size, :]


def center_crop(frame: Pixels, size: int) -> Pixels:
    """The centre `size` x `size` px square of uint8 [..., H, W, 3]."""
    height, width = frame.shape[-3:-1]
    return crop(frame, size, (height - size) // 2, (width - size) // 2)


def prepare(frame: Pixels, preprocess: Preprocess) -> Pixels:
    """One camera frame, uint8 [H, W, 3] RGB, as the model takes it: uint8 [size, size, 3].

    The centre crop of `resize_short`, of which only that crop is computed: half the time. No value differs by more than
    1, except in strips, where Pillow may resize down before across. Squashed where `preprocess` says so.
    """
    from PIL import Image

    frame, size = _middle(frame), preprocess.size
    if preprocess.resize is None:
        return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC))
    height, width = frame.shape[:2]
    to_width, to_height = _resized(width, height, preprocess.resize)
    if (to_width, to_height) == (width, height):
        return center_crop(frame, size)
    left, top = (to_width - size) // 2, (to_height - size) // 2
    across, down = width / to_width, height / to_height
    # Rounding must not leave the picture.
    right, bottom = min((left + size) * across, width), min((top + size) * down, height)
    box = (left * across, top * down, right, bottom)
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC, box))
