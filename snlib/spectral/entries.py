"""The matrix of a convolution, gathered from its weight.

With zeros for padding, every entry of that matrix is zero or one entry of the weight: the one at
the offset between an output pixel and an input pixel. Which one is found once, by convolving the
unit images with the numbers 1, 2, 3, ... for a weight; from then on the matrix of any weight is one
gather, at a fraction of the time that unit images take.
"""

from __future__ import annotations

import functools
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
            places = matrix_of(numbers).round().to(torch.int32)  # 0 where the matrix is zero
        self.shape = places.shape
        self.places = {places.device: places.reshape(-1)}

    def matrix(self, weight: Tensor) -> Tensor:
        """The matrix of a weight, on its device."""
        places = self.places.get(weight.device)
        if places is None:
            places = next(iter(self.places.values())).to(weight.device)
            self.places[weight.device] = places
        table = torch.cat([weight.new_zeros(1), weight.reshape(-1)])
        return table.index_select(0, places).view(self.shape)


@functools.lru_cache(maxsize=16)
def convolution_entries(in_shape: tuple[int, ...], shape: torch.Size, options: tuple) -> Entries:
    """Those of a convolution padded with zeros, (m, n) for flattened inputs and outputs.

    Args:
        in_shape: of one input, without the batch.
        shape: of the weight.
        options: as `torch.convolution` takes them after the bias.
    """

    def matrix_of(weight: Tensor) -> Tensor:
        units = torch.eye(math.prod(in_shape), dtype=weight.dtype).view(-1, *in_shape)
        return torch.convolution(units, weight, None, *options).flatten(1).T

    return Entries(matrix_of, shape)
