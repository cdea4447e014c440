"""Random shifts and mirror images of a training batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def augmented(x: Tensor, generator: torch.Generator, *, mirror: bool = True) -> Tensor:
    """Each image moved by up to an eighth of its size, and flipped with probability 1/2.

    What moves in from the border is 0: black in raw images, the mean pixel in whitened ones. Both
    lie in the range of pixels, so an image's box stays its box.

    Args:
        x: (N, C, H, W).
        generator: of the draws; as many are drawn whether images are flipped or not.
        mirror: whether to flip; a mirror image of a digit is no digit, or another one.
    """
    count, _, height, width = x.shape
    pad = max(height // 8, 1)
    flip = torch.rand(count, generator=generator) < 0.5
    move = torch.randint(2 * pad + 1, (2, count), generator=generator)
    if mirror:
        x = torch.where(flip.to(x.device)[:, None, None, None], x.flip(3), x)
    padded = F.pad(x, (pad, pad, pad, pad))
    rows = (move[0][:, None] + torch.arange(height)).to(x.device)
    columns = (move[1][:, None] + torch.arange(width)).to(x.device)
    image = torch.arange(count, device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )
