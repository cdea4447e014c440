"""An attack with all its settings: frozen, comparable, callable, and writable as JSON."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from snlib.attacks.balls import as_norm
from snlib.attacks.divergence import trades_attack
from snlib.attacks.objectives import LABELS, LOSSES, PRECISIONS
from snlib.attacks.path import L1_STEPS, Clip, Info, whole
from snlib.attacks.penalty import wrm
from snlib.attacks.projected import fgm, pgm
from snlib.attacks.state import Net
from snlib.errors import one_of, positive, require

KINDS = ("fgm", "pgm", "wrm", "trades", "none")


@dataclasses.dataclass(frozen=True)
class Attack:
    """Settings of one attack; `attack(net, x, y)` runs it.

    Attributes:
        kind: "fgm", "pgm", "wrm", "trades" or "none" (x itself).
        eps: radius in units of x; for "wrm" the step 1 / (2 wrm_gamma).
        norm: 2, math.inf (or "inf") or 1; "wrm" takes 2 only.
        steps: of "pgm", "wrm" (after its unit step) and "trades" (whose authors take 10).
        step_size: None means 2 eps / steps.
        labels: "true" or "predicted"; "trades" asks none.
        loss: "cross_entropy" or "log_odds", for "fgm" and "pgm".
        random_start, restarts, l1, precision: as in `pgm`.
        clip: None or (low, high) numbers; a box per image is given at the call.
        noise: start of "trades".

    Raises:
        UserError: when made with a value that no attack accepts.
    """

    kind: str
    eps: float = 0.0
    norm: float = 2
    steps: int = 15
    labels: str = "true"
    loss: str = "cross_entropy"
    step_size: float | None = None
    random_start: bool = False
    restarts: int = 1
    clip: tuple[float, float] | None = None
    l1: str = "steepest"
    precision: str | None = None
    noise: float = 1e-3

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        object.__setattr__(self, "eps", positive("eps", self.eps, zero=True))
        object.__setattr__(self, "norm", as_norm(self.norm))
        one_of("labels", self.labels, LABELS)
        one_of("loss", self.loss, LOSSES)
        one_of("l1", self.l1, L1_STEPS)
        one_of("precision", self.precision, PRECISIONS)
        whole("steps", self.steps)
        whole("restarts", self.restarts)
        require(
            self.kind == "pgm" or not (self.random_start or self.restarts > 1),
            f"kind is {self.kind!r} with random_start={self.random_start} and restarts="
            f"{self.restarts}; only 'pgm' has random starts.",
        )
        require(
            self.restarts == 1 or self.random_start,
            f"restarts is {self.restarts} without random_start; set random_start=True.",
        )
        require(
            self.kind != "wrm" or self.norm == 2,
            f"norm is {self.norm!r} for kind 'wrm'; WRM is defined for norm 2 only.",
        )
        require(
            self.kind != "trades" or self.labels == "true",
            f"labels is {self.labels!r} for kind 'trades', which asks no label; leave it out.",
        )
        require(
            self.kind in ("fgm", "pgm", "none") or self.loss == "cross_entropy",
            f"loss is {self.loss!r} for kind {self.kind!r}; only 'fgm' and 'pgm' have a choice.",
        )
        if self.clip is not None:  # a list from JSON becomes hashable again
            require(
                isinstance(self.clip, tuple | list) and len(self.clip) == 2,
                f"clip is {self.clip!r}; give (low, high), or None.",
            )
            object.__setattr__(self, "clip", tuple(float(side) for side in self.clip))

    def __call__(
        self,
        net: Net,
        x: Tensor,
        y: Tensor | None = None,
        generator: torch.Generator | None = None,
        *,
        eps: float | Tensor | None = None,
        clip: Clip = None,
        return_info: bool = False,
        check: bool = True,
    ) -> Tensor | tuple[Tensor, Info]:
        """Attack x (N, ...) with labels y (N,); see `pgm` for arguments, result and errors.

        Args:
            eps: replaces the attack's own, also by one radius per sample.
            clip: replaces the attack's own, also by a box per image.
        """
        eps = self.eps if eps is None else eps
        clip = self.clip if clip is None else clip
        shared = {"precision": self.precision, "return_info": return_info, "check": check}
        if self.kind == "none":
            zeros = torch.zeros(len(x), dtype=torch.int64, device=x.device)
            return (x.detach(), Info(zeros, 0)) if return_info else x.detach()
        if self.kind == "wrm":
            shared |= {"labels": self.labels, "clip": clip}
            return wrm(net, x, y, eps=eps, steps=self.steps, **shared)
        shared |= {"norm": self.norm, "clip": clip, "l1": self.l1}
        if self.kind == "trades":
            return trades_attack(
                net, x, eps, steps=self.steps, step_size=self.step_size, noise=self.noise,
                generator=generator, **shared,
            )  # fmt: skip
        shared |= {"labels": self.labels, "loss": self.loss}
        if self.kind == "fgm":
            return fgm(net, x, y, eps, **shared)
        return pgm(
            net, x, y, eps, steps=self.steps, step_size=self.step_size, generator=generator,
            random_start=self.random_start, restarts=self.restarts, **shared,
        )  # fmt: skip

    def replace(self, **changes: object) -> Attack:
        """The same attack with some settings changed."""
        return dataclasses.replace(self, **changes)

    def settings(self) -> dict[str, object]:
        """All settings as JSON values; `Attack(**settings)` makes the attack again."""
        values = dataclasses.asdict(self)
        values["norm"] = "inf" if self.norm == math.inf else self.norm
        values["clip"] = list(self.clip) if self.clip is not None else None
        return values

    @property
    def gradients_per_sample(self) -> int:
        """Input gradients that one sample costs."""
        each = {"none": 0, "fgm": 1, "wrm": self.steps + 1}.get(self.kind, self.steps)
        return each * self.restarts if self.kind == "pgm" else each
