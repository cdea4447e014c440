"""The matrix of a convolution, gathered from its weight.

With zeros for padding, every entry of that matrix is zero or one entry of the weight: the one at
the offset between an output pixel and an input pixel. Which one is found once, by convolving the
unit images with the numbers 1, 2, 3, ... for a weight; from then on the matrix of any weight is one
gather, at a fraction of the time that unit images take.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Entries:
    """Where a matrix takes its entries from a weight.

    Args:
        matrix_of: the matrix of a weight, in float64, computed in any other way.
        shape: of the weight.
    """

    def __init__(self, matrix_of: Callable[[Tensor], Tensor], shape: Sequence[int]) -> None:
        numbers = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64).view(*shape)
        with torch.inference_mode(False), torch.no_grad():
            places = matrix_of(numbers)
            self.places = places.round().to(torch.int32).contiguous()  # 0 where the matrix is zero

    def matrix(self, weight: Tensor) -> Tensor:
        """The matrix of a weight."""
        if self.places.device != weight.device:
            self.places = self.places.to(weight.device)
        table = torch.cat([weight.new_zeros(1), weight.reshape(-1)])
        return table.index_select(0, self.places.view(-1)).view(self.places.shape)
