"""The budget on one layer: W / max(1, sigma(W) / beta), eq. (9) of the paper.

The effective weight is a pure function of the raw weight and of stored buffers, so train and eval
mode and all passes of an attack see the same network; the singular vectors move only in `refresh`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from snlib import capturing
from snlib.spectral import small, tracking
from snlib.spectral.clip import ClipMatrix, clip
from snlib.spectral.guarantee import UpperBound
from snlib.spectral.operators import Operator, ReshapedKernel, check_finite
from snlib.spectral.schedule import MOST_CONVOLUTION, MOST_MATRIX, Schedule
from snlib.spectral.tracking import Track


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """No autocast and no TF32 inside: both bias the Ritz value upwards."""
    if device.type != "cuda" and not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return _full_precision(device)


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    with ExitStack() as stack:
        if torch.is_autocast_enabled(device.type):
            stack.enter_context(torch.autocast(device.type, enabled=False))
        if device.type == "cuda":
            allowed = torch.backends.cuda.matmul.allow_tf32
            stack.callback(setattr, torch.backends.cuda.matmul, "allow_tf32", allowed)
            torch.backends.cuda.matmul.allow_tf32 = False
            stack.enter_context(
                torch.backends.cudnn.flags(
                    enabled=torch.backends.cudnn.enabled,
                    benchmark=torch.backends.cudnn.benchmark,
                    deterministic=torch.backends.cudnn.deterministic,
                    allow_tf32=False,
                )
            )
        yield


class Budget(nn.Module):
    """The parametrization of one layer's weight; nothing moves in `forward`.

    Buffers (all in the state dict, so that a loaded net is the saved one to the last bit):
        basis: (p, n) the tracked subspace of inputs, for small layers of the shorter side.
        gradient: d sigma / d W shaped like the weight (convolutions), so sigma = <W, gradient>;
        left, right: (m,), (n,) the singular vectors (matrices), so sigma = left^T W right.
        tracked: 0-dimensional, sigma at the last refresh.
        limit: 0-dimensional, beta, or under `guaranteed` beta x tracked value / upper bound.
    """

    still = True  # no pass of the net writes to these buffers: see `attacks.untouched`

    def __init__(
        self,
        layer: nn.Module,
        beta: float,
        in_shape: Sequence[int],
        *,
        name: str,
        kind: str = "operator",
        gradient: str = "exact",
        method: str = "krylov",
        steps: int | None = None,
        guaranteed: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        weight = layer.weight.detach()
        check_finite(weight, name)
        self.beta, self.name, self.method, self.steps = beta, name, method, steps
        self.exact = gradient == "exact"
        self.in_shape = tuple(in_shape)
        self.guaranteed = guaranteed
        matrix = kind == "reshaped" or isinstance(layer, nn.Linear)
        self.operator = (ReshapedKernel if matrix else Operator)(layer, in_shape, name)
        self.exactly = method == "krylov" and small.is_small(self.operator)
        self.upper = UpperBound(self.operator, layer) if guaranteed else None
        self.last: Track | None = None
        self.seed, self.refreshes = seed, 0
        # The paper's power iteration and a guarantee move at every step.
        self.schedule = None
        if method == "krylov" and steps is None and not guaranteed:
            followed = self.exactly or matrix
            self.schedule = Schedule(MOST_MATRIX if followed else MOST_CONVOLUTION)
        self.free: tuple[int, int] | None = None  # identity and version of a weight known as free
        rows, size = 1 if method == "power" else tracking.MEMORY, self.operator.inputs
        if self.exactly:
            rows, size = small.leaders(self.operator), small.shorter_side(self.operator)
        self.register_buffer("basis", tracking.random_basis(rows, size, weight, seed))
        if matrix:
            self.register_buffer("left", weight.new_zeros(self.operator.outputs))
            self.register_buffer("right", weight.new_zeros(self.operator.inputs))
        else:
            self.register_buffer("gradient", torch.zeros_like(weight))
        self.register_buffer("limit", weight.new_tensor(beta))
        self.register_buffer("tracked", weight.new_zeros(()))
        self.refresh(weight, cold=True)

    def sigma(self, weight: Tensor) -> Tensor:
        """The tracked norm, linear in the weight, 0-dimensional."""
        if "gradient" in self._buffers:
            return (weight * self.gradient).sum()
        # Sums, not matrix products: autocast would do those in bfloat16.
        return ((self.operator.matrix(weight) * self.right).sum(1) * self.left).sum()

    def forward(self, weight: Tensor) -> Tensor:
        """(shape of W) -> (shape of W): W / max(1, sigma / limit)."""
        if self._is_free(weight):
            return weight.view_as(weight)
        if self._fused(weight):
            return ClipMatrix.call(weight, self.left, self.right, self.limit)[0]
        return clip(weight, self.sigma(weight if self.exact else weight.detach()), self.limit)

    def _is_free(self, weight: Tensor) -> bool:
        """Whether the last refresh saw this very weight well inside the budget."""
        if torch.compiler.is_compiling() or self.free is None or capturing.active():
            return False
        return self.free == _fingerprint(weight)

    def _fused(self, weight: Tensor) -> bool:
        """Whether the hand-written gradient applies; a compiler fuses the plain formula itself."""
        return (
            "left" in self._buffers
            and self.exact
            and weight.dim() == 2
            and not torch.compiler.is_compiling()
            and not torch.is_autocast_enabled(weight.device.type)
        )

    @torch.no_grad()
    def refresh(self, original: Tensor, cold: bool = False) -> None:
        """Move the singular vectors to those of the weight, unless the old ones will do."""
        weight = original.detach()
        state = self.__dict__  # written to directly: nn.Module's own way takes as long as a product
        state["refreshes"] += 1
        with full_precision(weight.device):
            state["sigma_now"] = self._refresh(weight, cold)
        # Well inside the budget the effective weight is the weight: forward need not look again.
        inside = self.schedule is not None and self.sigma_now < 0.999 * self.beta
        state["free"] = _fingerprint(original) if inside else None

    def _kept(self, weight: Tensor) -> Tensor:
        """`sigma` by matrix products, which are cheaper and here never in bfloat16."""
        if "gradient" in self._buffers:
            return self.sigma(weight)
        return torch.dot(self.left, torch.mv(self.operator.matrix(weight), self.right))

    def _refresh(self, weight: Tensor, cold: bool) -> float:
        """Returns: sigma now."""
        kept = math.nan
        if self.schedule is not None and not cold:
            kept, tracked = float(self._kept(weight)), float(self.tracked)
            if self.schedule.waits(kept, tracked, self.beta):
                return kept
        track = self._track(weight, cold)
        if track.basis is not None:
            self.basis.copy_(track.basis)
        if "gradient" in self._buffers:
            self.gradient.copy_(self.operator.gradient(track.u, track.v, weight))
        else:
            self.left.copy_(track.u[0])
            self.right.copy_(track.v[0])
        if self.guaranteed:
            self.limit.fill_(self.beta / self.upper.inflation(weight, self.sigma(weight)))
        self.tracked.fill_(track.sigma)
        if self.schedule is not None and not cold:
            self.schedule.moved(kept, track.sigma, self.beta)
        self.__dict__["last"] = track
        return track.sigma

    def _track(self, weight: Tensor, cold: bool) -> Track:
        if self.exactly:
            return small.exact(self.operator, weight, self.basis, 0 if cold else self.refreshes)
        if self.method == "power":
            return tracking.power(self.operator, weight, self.basis, self.steps or 1)
        # The seed of the scout is a function of what the state dict holds, so that training
        # resumed from a checkpoint is the same training.
        generator = torch.Generator().manual_seed((self.seed << 32) + self.refreshes)
        scout = torch.randn(1, self.operator.inputs, generator=generator).to(self.basis)
        return tracking.krylov(
            self.operator,
            weight,
            self.basis,
            scout,
            tracked=float(self.tracked),
            steps=tracking.COLD if cold else self.steps,
        )

    def get_extra_state(self) -> Tensor:
        """Refreshes so far, steps waited and the interval of the schedule, for the state dict."""
        schedule = self.schedule or Schedule(1)
        return torch.tensor([self.refreshes, schedule.waited, schedule.interval])

    def set_extra_state(self, state: Tensor) -> None:
        """Take up the counts from a state dict."""
        refreshes, waited, interval = state.tolist()
        self.refreshes = refreshes
        if self.schedule is not None:
            self.schedule.waited, self.schedule.interval = waited, interval
        self.free = None

    def extra_repr(self) -> str:
        """The settings, for print(net)."""
        return f"beta={self.beta}, method={self.method}"


def _fingerprint(weight: Tensor) -> tuple[int, int] | None:
    """Tells a weight from others and from itself after a change in place."""
    return None if weight.is_inference() else (id(weight), weight._version)


def budget_of(layer: nn.Module) -> Budget | None:
    """The budget on a layer's weight, None where there is none."""
    parametrizations = layer._modules.get("parametrizations")
    if parametrizations is None or "weight" not in parametrizations._modules:
        return None
    budget = parametrizations._modules["weight"][0]
    return budget if isinstance(budget, Budget) else None
