"""From pixels to the net's input and back: after whitening every image has its own unit."""

from __future__ import annotations

import torch
from torch import Tensor

from snlib.errors import require


def pixel_box(
    mean: float | Tensor, scale: float | Tensor, *, low: float = 0.0, high: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Each image's own box in whitened units, for the argument `clip` of an attack.

    Whitening maps a pixel p to (p - mean) / scale with the image's own mean and standard
    deviation, so that the pixels' range [low, high] becomes another interval for every image.

    Args:
        mean: what was subtracted: a number or (N,), in pixel units.
        scale: what was divided by: a number or (N,), > 0, in pixel units.
        low, high: range of the pixels.

    Returns:
        (low, high), each (N, 1, 1, 1), or single numbers as 0-d tensors.

    Raises:
        UserError: if a scale is not positive or low >= high.
    """
    mean, scale = torch.as_tensor(mean), torch.as_tensor(scale)
    require(bool((scale > 0).all()), f"scale holds {float(scale.min())}; it must be > 0.")
    require(low < high, f"low is {low} and high is {high}; low must be smaller.")
    low_edge, high_edge = (low - mean) / scale, (high - mean) / scale
    if low_edge.ndim == 0:
        return low_edge, high_edge
    return low_edge.reshape(-1, 1, 1, 1), high_edge.reshape(-1, 1, 1, 1)


def pixel_eps(eps: float | Tensor, scale: float | Tensor) -> Tensor:
    """The radius eps of whitened units in pixels, one number per image: eps * scale.

    Holds in every norm, as whitening stretches all pixels of an image alike.
    """
    return torch.as_tensor(eps) * torch.as_tensor(scale)
