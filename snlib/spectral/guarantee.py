"""Upper bounds on a layer's norm at every refresh, for a budget that is never exceeded."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snlib.errors import require
from snlib.spectral import fourier
from snlib.spectral.certificates import dense_interval
from snlib.spectral.geometry import geometry_of
from snlib.spectral.operators import Operator, ReshapedKernel, plain_class

DENSE_INPUT = 256
# Above the float32 rounding of sigma and of the division: 6e-8 times the root of a stable rank
# below 1e4, twice.
FLOAT32 = 2e-5


class UpperBound:
    """A rigorous upper bound on the norm of a moving weight.

    Matrices and maps with few inputs: the exact norm in float64. Convolutions: the Fourier bound,
    0 to 8 % above the norm under zero padding, more under reflect and replicate.

    Raises:
        UserError: the layer's own forward is no convolution, so that no bound is known.
    """

    def __init__(self, operator: Operator | ReshapedKernel, layer: nn.Module) -> None:
        self.operator = operator
        self.geometry = None
        if not operator.linear and operator.inputs > DENSE_INPUT:
            self.geometry = geometry_of(operator, layer)
            require(
                self.geometry is not None,
                f"guaranteed is True, but the forward of {operator.name} "
                f"({plain_class(layer).__name__}) is no convolution with a known upper bound; "
                "use guaranteed=False.",
            )

    def __call__(self, weight: Tensor) -> float:
        """At least the norm of `weight`."""
        weight = weight.double()
        if self.geometry is not None:
            return fourier.upper_bound(self.geometry, weight)
        if self.operator.linear:
            return dense_interval(self.operator.matrix(weight)).upper
        eye = torch.eye(self.operator.inputs, dtype=torch.float64, device=weight.device)
        return dense_interval(self.operator.forward(eye, weight)).upper

    def inflation(self, weight: Tensor, sigma: Tensor) -> float:
        """Upper bound over tracked value, with room for float32 rounding; 1 for the zero map."""
        tracked = float(sigma)
        return self(weight) / tracked * (1 + FLOAT32) if tracked > 0 else 1.0
