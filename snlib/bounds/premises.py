"""The premises of the theorems: each with its value, what is required, and whether it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pandas as pd

from snlib.bounds.norms import Norms

# Class names, since a recorded table has no modules to ask.
SMOOTH = {"ELU", "CELU", "Tanh", "Identity"}
HOMOGENEOUS = {"ReLU", "LeakyReLU", "Identity"}
PLAIN = {
    "Linear", "Conv1d", "Conv2d", "Conv3d", "SameConv2d",
    "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "Flatten", "Unflatten", "Identity",
}  # fmt: skip
ACTIVATIONS = {"ReLU", "LeakyReLU", "ELU", "CELU", "Tanh", "Hardtanh", "Softsign"}


def power_of_ten(log10: float) -> str:
    """A number given by its logarithm, as text that never overflows."""
    if math.isnan(log10):
        return "undefined"
    return f"{10.0**log10:.4g}" if abs(log10) < 15 else f"10^{log10:.1f}"


@dataclass
class Premises:
    """A list that grows; holds is True, False, or None where it cannot be known from here."""

    rows: list[tuple[str, str, str, bool | None]] = field(default_factory=list)

    def add(self, premise: str, value: object, required: str, holds: bool | None) -> None:
        """Append one premise."""
        self.rows.append((premise, str(value), required, holds))

    def table(self) -> pd.DataFrame:
        """DataFrame with columns premise, value, required, holds."""
        frame = pd.DataFrame(self.rows, columns=["premise", "value", "required", "holds"])
        frame["holds"] = frame["holds"].astype(object)
        return frame


def of_the_net(norms: Norms, smooth: bool) -> Premises:
    """Premises that all theorems share: the kind of network, its biases, its norms.

    Args:
        norms: the layers.
        smooth: whether the theorem needs a 1-smooth activation (all that differentiate an attack).
    """
    premises = Premises()
    premises.add(
        "the layers have no biases",
        {None: "not known", True: "biases", False: "no biases"}[norms.bias],
        "no biases: with them s and F no longer bound the output of the net",
        None if norms.bias is None else not norms.bias,
    )
    kinds = norms.modules
    leaves = set(kinds["leaves"]) if kinds else set()
    others = sorted(leaves - PLAIN - ACTIVATIONS - SMOOTH)
    own = sorted(set(kinds["containers"]) - {"Sequential"}) if kinds else []
    premises.add(
        "the net is a chain of weight layers and activations",
        "not known" if not kinds else ", ".join(others + own) or "a chain",
        "no pooling, normalization, skip or concatenation: their factors are not in P",
        None if not kinds else (False if others else None if own else True),
    )
    if smooth:
        rough = sorted(leaves - PLAIN - SMOOTH)
        premises.add(
            "the activation is 1-Lipschitz and 1-smooth with s(0) = 0",
            "not known" if not kinds else ", ".join(rough) or "smooth",
            "ELU, tanh or the like; not ReLU, not max-pooling",
            None if not kinds else (False if rough else None if own else True),
        )
    spread = max(norms.log_sigma.max(), -norms.log_sigma.min()) / math.log(10)
    premises.add(
        "1/M <= s_i <= M",
        f"M = {power_of_ten(max(spread, 0.0))}",
        "any M >= 1; it enters the bound as log log M",
        True,
    )
    return premises
