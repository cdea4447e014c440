"""The whole right-hand side of a bound: empirical margin risk plus the generalization term."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from snlib import errors
from snlib.bounds.capacities import LOG10, Capacity
from snlib.bounds.premises import HOMOGENEOUS, PLAIN, Premises, power_of_ten

EXPLICIT = ("erm", "neyshabur2018", "xiao2023")


@dataclass(frozen=True, eq=False)
class Generalization:
    """A bound on the (adversarial) test error, L_0 <= risk + 10 ** log10_gap.

    Attributes:
        theorem: of the capacity.
        constants: "order" (the constant hidden in O(.) is taken as 1: a size, not a bound) or
            "explicit" (a bound, if its premises hold).
        risk: empirical margin risk at `margin`.
        log10_gap: of the generalization term; NaN if the capacity is undefined.
        log10_radius: of R, the bound on ||x + d||.
        premises: those of the capacity and of this step.
    """

    theorem: str
    constants: str
    risk: float
    log10_gap: float
    log10_radius: float
    premises: pd.DataFrame = field(repr=False)

    @property
    def bound(self) -> float:
        """risk + gap; inf where that passes the range of a float."""
        return self.risk + (10.0**self.log10_gap if self.log10_gap < 300 else math.inf)

    @property
    def vacuous(self) -> bool:
        """Whether the bound says nothing about an error rate (>= 1, or undefined)."""
        return not self.bound < 1.0


def generalization(
    capacity: Capacity,
    *,
    margin: float,
    samples: int,
    input_norm: float,
    width: int,
    risk: float = 0.0,
    eta: float = 0.05,
    constants: str = "order",
    norm: float = 2,
    input_size: int | None = None,
    modules: dict[str, list[str]] | None = None,
) -> Generalization:
    """The bound on the test error for a capacity.

    With probability at least 1 - eta over n samples, for every w (d layers, width h),

        L_0 <= Lhat_g + O( sqrt( (R^2 d^2 h ln(dh) Phi + d ln(d n ln(M) / eta)) / (g^2 n) ) ),

    R = B (erm), B + eps (fgm, pgm, xiao2023), B + P/lambda (wrm, since ||d|| <= ||grad l||/lambda).
    The first term is restated by Xiao, Sun & Luo (2023); the terms with M and P/lambda are from
    memory, consistent with the derivation. For erm, neyshabur2018 and xiao2023 the second term is
    ln(d n / eta). bartlett2017 (from memory) is B R_A ln(h)/(g sqrt n) + sqrt(ln(1/eta)/n).

    constants="explicit" follows the proof that Xiao, Sun & Luo (2023) write out: with Gaussian
    weights of deviation g / (42 d R b^(d-1) sqrt(h ln 4hd)), where b = P^(1/d) is known up to a
    factor (1 + 1/d),

        L_0 <= Lhat_g + 4 sqrt( (KL + ln(6 n N / eta)) / (n - 1) ),
        KL <= (42 e d R)^2 h ln(4hd) Phi / (2 g^2),   N = d n^(1/(2d)) values of b to cover.

    e^2 and N make it hold for all w at once, by the covering argument of Neyshabur et al. (2018).
    That step is recalled, not checked against their text; what it adds is re-derived here: e, for
    b off by a factor of at most 1 + 1/d in b^(d-1), and a union bound over N values of b.

    Args:
        capacity: of `capacity`.
        margin: g > 0, in units of the logits.
        samples: n, training samples, >= 2.
        input_norm: B, the largest ||x||_2, in units of the net's input.
        width: h, the largest number of outputs of a layer (max of `outputs` in `layer_norms`).
        risk: empirical margin risk at `margin`, on attacked inputs for adversarial theorems.
        eta: probability that the bound fails.
        constants: "order" or "explicit" (only for erm, neyshabur2018 and xiao2023).
        norm: p of the attack's l_p ball; p > 2 multiplies eps by input_size^(1/2 - 1/p).
        input_size: number of input entries, needed for p > 2.
        modules: `layer_norms(...).attrs["modules"]`, to check homogeneity; explicit only.

    Raises:
        UserError: an argument outside the above.
    """
    errors.one_of("constants", constants, ("order", "explicit"))
    errors.require(
        constants == "order" or capacity.theorem in EXPLICIT,
        f"constants is 'explicit'; that is known for {', '.join(EXPLICIT)}, not for "
        f"{capacity.theorem!r}; use constants='order'.",
    )
    for name, count, least in (("samples", samples, 2), ("width", width, 1)):
        errors.require(
            isinstance(count, int | np.integer) and count >= least,
            f"{name} is {count!r}; it must be an integer >= {least}.",
        )
    margin = errors.positive("margin", margin)
    eta = errors.positive("eta", eta)
    errors.require(eta < 1, f"eta is {eta!r}; it must be a probability between 0 and 1.")
    errors.require(0 <= risk <= 1, f"risk is {risk!r}; it must lie in [0, 1].")
    log_radius = _log_radius(capacity, input_norm, norm, input_size)
    depth, log_phi = capacity.depth, capacity.log10_phi * LOG10
    main = log_phi + 2 * log_radius - 2 * math.log(margin)
    if not capacity.defined:
        log_gap = math.nan
    elif capacity.theorem == "bartlett2017":
        log_width = math.log(max(math.log(width), 1.0))
        log_gap = float(
            np.logaddexp(
                main / 2 + log_width - math.log(samples) / 2,
                math.log(math.log(1 / eta) / samples) / 2,
            )
        )
    elif constants == "explicit":
        cover = math.log(depth) + math.log(samples) / (2 * depth)
        log_kl = (
            main
            + 2 * math.log(42 * math.e * depth)
            + math.log(width * math.log(4 * width * depth) / 2)
        )
        rest = math.log(6 * samples / eta) + cover
        total = float(np.logaddexp(log_kl, math.log(rest)))
        log_gap = math.log(4) + (total - math.log(samples - 1)) / 2
    else:
        dims = depth**2 * width * max(math.log(depth * width), 1.0)
        second = math.log(_second(capacity, samples, eta)) - 2 * math.log(margin)
        log_gap = (float(np.logaddexp(main + math.log(dims), second)) - math.log(samples)) / 2
    premises = _premises(capacity, constants, input_norm, modules)
    return Generalization(
        capacity.theorem,
        constants,
        float(risk),
        log_gap / LOG10,
        log_radius / LOG10,
        premises,
    )


def _log_radius(capacity: Capacity, input_norm: float, norm: float, size: int | None) -> float:
    input_norm = errors.positive("input_norm", input_norm)
    norm = errors.positive("norm", norm, infinite=True)
    errors.require(norm >= 1, f"norm is {norm!r}; it must be a number >= 1 or inf.")
    if capacity.theorem == "wrm":
        reach = capacity.log10_product * LOG10 - math.log(capacity.settings["wrm_lambda"])
        return float(np.logaddexp(math.log(input_norm), reach))
    if capacity.theorem not in ("fgm", "pgm", "xiao2023"):
        return math.log(input_norm)
    errors.require(
        "eps" in capacity.settings,
        f"the capacity of {capacity.theorem!r} was made without eps; R = B + eps needs it.",
    )
    factor = 1.0
    if norm > 2:
        errors.require(
            size is not None and size >= 1,
            f"input_size is {size!r}; with norm {norm} give the number of entries of one input.",
        )
        factor = size ** (0.5 - 1 / norm)
    return math.log(input_norm + factor * capacity.settings["eps"])


def _second(capacity: Capacity, samples: int, eta: float) -> float:
    depth = capacity.depth
    if capacity.theorem in EXPLICIT:
        return max(math.log(depth * samples / eta), 1.0)
    # The smallest M is max(s_i, 1/s_i); |log P|/d bounds it from below, and ln ln M hardly moves.
    log_m = max(abs(capacity.log10_product) * LOG10 / depth, 1.0)
    return depth * math.log(depth * samples * log_m / eta)


def _premises(
    capacity: Capacity,
    constants: str,
    input_norm: float,
    modules: dict[str, list[str]] | None,
) -> pd.DataFrame:
    premises = Premises()
    if capacity.theorem in ("fgm", "pgm", "wrm"):
        log_bs = math.log10(input_norm) + capacity.log10_sum
        premises.add(
            "B S >= 1",
            f"B S = {power_of_ten(log_bs)}",
            ">= 1, so that 1 + B S is of the order of B S",
            log_bs >= 0,
        )
    if constants == "explicit":
        others = sorted(set(modules["leaves"]) - HOMOGENEOUS - PLAIN) if modules else []
        own = sorted(set(modules["containers"]) - {"Sequential"}) if modules else []
        premises.add(
            "the net is positively homogeneous",
            "not known" if not modules else ", ".join(others) or "homogeneous",
            "ReLU: the layers' norms can then be made equal without changing the net",
            None if not modules else (False if others else None if own else True),
        )
    else:
        premises.add(
            "the constant in O(.) is 1", "assumed", "unknown: read the size, not a bound", None
        )
    return pd.concat([capacity.premises, premises.table()], ignore_index=True)
