"""The paper's preprocessing: colour images are whitened one by one and then cropped, grey ones raw.

The order matters: the mean and standard deviation are those of the whole image, so the norm of a
cropped image varies from image to image.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 256  # images converted at a time: few enough to stay in the processor's cache


class Preprocessed(NamedTuple):
    """Images (N, C, H, W) in float32 and, if whitened, each one's pixel mean and scale (N,)."""

    x: Tensor
    mean: Tensor | None
    scale: Tensor | None


def border(side: int) -> int:
    """Pixels that the centre crop takes off each end of a side: 2 of 32, 4 of 64."""
    return side // 16


def preprocess(images: Tensor, white: int) -> Preprocessed:
    """Scale integer pixels to [0, 1]; whiten and crop if the images have three channels.

    Args:
        images: (N, C, H, W), uint8.
        white: the value that becomes 1.0.

    Returns:
        Raw pixels for one channel. For three channels (x - mean) / max(std, 1/sqrt(C H W)) with the
        mean and (population) standard deviation of all values of an image, as TensorFlow's
        `per_image_standardization`, without the outer sixteenth of the image on each side.
    """
    count, channels, height, width = images.shape
    if channels == 1:
        return Preprocessed(images.float() / white, None, None)
    top, left, values = border(height), border(width), channels * height * width
    x = torch.empty(count, channels, height - 2 * top, width - 2 * left)
    mean, scale = torch.empty(count), torch.empty(count)
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        pixels = images[part].float().div_(white)
        mean[part] = pixels.mean((1, 2, 3))
        pixels.sub_(mean[part].view(-1, 1, 1, 1))  # in place: this loop waits for memory only
        spread = torch.linalg.vector_norm(pixels.flatten(1), dim=1) / math.sqrt(values)
        scale[part] = spread.clamp_min(1 / math.sqrt(values))
        inner = pixels[:, :, top : height - top, left : width - left]
        torch.div(inner, scale[part].view(-1, 1, 1, 1), out=x[part])
    return Preprocessed(x, mean, scale)


def mean_norm(x: Tensor) -> float:
    """Mean l2 norm of images (N, C, H, W), the paper's C2."""
    # In float64, part by part: radii follow from it, and should not hang on the processor.
    parts = [torch.linalg.vector_norm(part.flatten(1).double(), dim=1) for part in x.split(1000)]
    return float(torch.cat(parts).mean())
