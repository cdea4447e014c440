"""Capacities Phi of Theorems 1-4 and of three related bounds, as logarithms.

With s_i = ||W_i||_2, P = prod s_i, P_i = s_1 ... s_i, S = sum_i P_i, Lip = P S and
F = sum_i ||W_i||_F^2 / s_i^2, every capacity of the paper is (P x bracket)^2 x F:

    theorem         bracket                                             source
    erm             1                                                   restated in [X], Theorem 2
    fgm             1 + (eps/kappa) Lip                                 [X], Theorem 3; see below
    pgm, rigorous   (1 + rho)^steps, rho = step_size Lip / kappa        re-derived
    pgm, paper      1 + rho (1 - (2 rho)^steps) / (1 - 2 rho)           recalled, from no text
    wrm             lambda / (lambda - Lip), only if Lip < lambda       re-derived
    xiao2023        1, with B + eps for B: needs no kappa               [X], Theorem 1
    neyshabur2018   1, the same Phi as erm                              as restated in [X]
    bartlett2017    Phi = P^2 (sum_i (||W_i^T||_{2,1}/s_i)^(2/3))^3     recalled, from no text

[X] is Xiao, Sun & Luo, "PAC-Bayesian adversarially robust generalization bounds for deep neural
networks" (NeurIPS 2023, arXiv 2310.06182). They print P^2 (1 + C) F for fgm; the derivation gives
(1 + C)^2, which is used here. The recalled form of pgm cannot be derived as it stands: its
geometric sum drops the distance carried over from one step to the next. The two forms are equal at
rho = 1 and for one step; for rho > 1 the recalled one is the larger, for rho < 1 the smaller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from snlib import errors
from snlib.bounds.norms import Layers, Norms, gather
from snlib.bounds.premises import Premises, of_the_net, power_of_ten

THEOREMS = ("erm", "fgm", "pgm", "wrm", "xiao2023", "bartlett2017", "neyshabur2018")
FORMS = ("paper", "rigorous")
LOSSES = ("unit", "cross_entropy")
LOG10 = math.log(10)


@dataclass(frozen=True, eq=False)
class Capacity:
    """A capacity, by its logarithms to base 10, and the premises it stands on.

    Attributes:
        theorem: one of `THEOREMS`.
        form: of the PGM bracket; "" for the other theorems.
        log10_phi: of Phi; NaN where a premise without which Phi means nothing fails.
        log10_bracket: of what the attack multiplies P by; 0 without an attack, or NaN.
        log10_product: of P.
        log10_sum: of S.
        log10_lip: of Lip = P S.
        log10_ratio: of F.
        depth: d, the number of weight layers.
        settings: eps, kappa, ... as used; `wrm_lambda` is 2 wrm_gamma.
        premises: DataFrame premise, value, required, holds (True, False, None = not known here).
    """

    theorem: str
    form: str
    log10_phi: float
    log10_bracket: float
    log10_product: float
    log10_sum: float
    log10_lip: float
    log10_ratio: float
    depth: int
    settings: dict[str, float] = field(repr=False)
    premises: pd.DataFrame = field(repr=False)

    @property
    def log10_sqrt_phi(self) -> float:
        """log10 of sqrt(Phi), by which a theorem's margins are normalized."""
        return self.log10_phi / 2

    @property
    def defined(self) -> bool:
        """Whether Phi is a number at all."""
        return not math.isnan(self.log10_phi)

    @property
    def refuted(self) -> list[str]:
        """The premises known to fail."""
        failed = [holds is False for holds in self.premises["holds"]]
        return list(self.premises.loc[failed, "premise"])

    def row(self) -> dict[str, object]:
        """One row of a table: theorem, form, the logarithms, the premises known to fail."""
        names = ("phi", "bracket", "product", "sum", "lip", "ratio")
        logs = {f"log10_{name}": getattr(self, f"log10_{name}") for name in names}
        failed = "; ".join(self.refuted)
        return {"theorem": self.theorem, "form": self.form, **logs, "refuted": failed}


def capacity(
    layers: Layers,
    in_shape: Sequence[int] | None = None,
    theorem: str = "erm",
    *,
    eps: float | None = None,
    step_size: float | None = None,
    steps: int = 15,
    kappa: float | None = None,
    wrm_gamma: float | None = None,
    wrm_lambda: float | None = None,
    form: str = "paper",
    loss: str = "unit",
    sigma: str = "upper",
    residual: bool = False,
) -> Capacity:
    """The capacity Phi of one theorem; formulas and sources in this module's docstring.

    A theorem reads only its own arguments, so one call can loop over all of them.

    Args:
        layers: a net; or a table with columns upper (lower) and frobenius, as `spectral.spectrum`
            or `layer_norms` makes it; or pairs (s_i, ||W_i||_F) in forward order.
        in_shape: of one input, beside a net.
        theorem: one of `THEOREMS`.
        eps: l2 radius (fgm, pgm without step_size; xiao2023 keeps it for R = B + eps), in units of
            the net's input.
        step_size: of pgm; None: 2 eps / steps.
        steps: of pgm.
        kappa: lower bound on input-gradient norms (fgm, pgm).
        wrm_gamma: the penalty in l - gamma ||d||^2, as the paper's experiments and code state it.
        wrm_lambda: the penalty in l - (lambda/2) ||d||^2 of Theorem 4; lambda = 2 gamma. Give
            exactly one of the two.
        form: of the pgm bracket, "paper" (recalled) or "rigorous".
        loss: "unit": kappa and lambda are those of a 1-Lipschitz, 1-smooth loss, as the theorems
            have it. "cross_entropy": those of softmax cross-entropy, which is sqrt(2)-Lipschitz
            and (1/2)-smooth; both are divided by sqrt(2), and the theorems then hold exactly.
        sigma: "upper" (every Phi grows with each s_i, so Phi is then bounded above) or "lower".
        residual: xiao2023 only: s_i + 1 for s_i, their form for ResNets.

    Returns:
        `Capacity`. For wrm with Lip >= lambda log10_phi is NaN and the premises say so.

    Raises:
        UserError: an unknown theorem or form, kappa <= 0, eps < 0, a missing argument, ...
    """
    errors.one_of("theorem", theorem, THEOREMS)
    errors.one_of("form", form, FORMS)
    errors.one_of("loss", loss, LOSSES)
    norms = gather(layers, in_shape, sigma)
    scale = math.sqrt(2) if loss == "cross_entropy" else 1.0
    premises = of_the_net(norms, smooth=theorem in ("fgm", "pgm", "wrm"))
    settings: dict[str, float] = {}
    log_bracket = 0.0
    if theorem in ("fgm", "pgm", "wrm"):
        premises.add(
            "the loss is 1-Lipschitz and 1-smooth in the logits",
            "cross-entropy / sqrt(2)" if loss == "cross_entropy" else "taken as given",
            "cross-entropy is sqrt(2)-Lipschitz, (1/2)-smooth: loss='cross_entropy' allows for it",
            True if loss == "cross_entropy" else None,
        )
    if theorem == "fgm":
        settings = {"eps": _needed("eps", eps, theorem, zero=True), "kappa": _kappa(kappa, theorem)}
        reach = _log(settings["eps"] * scale) - math.log(settings["kappa"]) + norms.log_lip
        log_bracket = float(np.logaddexp(0.0, reach))
    elif theorem == "pgm":
        settings = _pgm_settings(eps, step_size, steps, kappa)
        log_rho = _log(settings["step_size"] * scale) - math.log(settings["kappa"]) + norms.log_lip
        log_bracket = pgm_log_bracket(log_rho, steps, form)
        if form == "paper":
            premises.add(
                "rho >= 1, so that the recalled form is at least the rigorous one",
                f"rho = {power_of_ten(log_rho / LOG10)}",
                "rho = step_size Lip / kappa >= 1 (or one step); else use form='rigorous'",
                log_rho >= 0 or steps == 1,
            )
    elif theorem == "wrm":
        penalty = _wrm_lambda(wrm_gamma, wrm_lambda)
        settings = {"wrm_lambda": penalty, "wrm_gamma": penalty / 2}
        log_bracket = _wrm_log_bracket(norms, penalty / scale, premises)
    elif theorem == "xiao2023":
        settings = {"eps": errors.positive("eps", eps or 0.0, zero=True)}
    if theorem in ("fgm", "pgm"):
        premises.add(
            "||grad_x l|| >= kappa on the eps-ball of every input, for this net and its neighbours",
            f"kappa = {settings['kappa']:.4g}",
            "> 0 at all of these points; a sample can refute it, never show it",
            None,
        )
    log_phi = 2 * (norms.log_product + log_bracket) + norms.log_ratio
    if theorem == "xiao2023" and residual:
        wider = np.logaddexp(0.0, norms.log_sigma)
        ratio = float(np.logaddexp.reduce(2 * (norms.log_frobenius - wider)))
        log_phi = 2 * float(wider.sum()) + ratio
    elif theorem == "bartlett2017":
        errors.require(
            norms.log_norm21 is not None,
            "theorem 'bartlett2017' needs the column norm21; give the net and in_shape, or a table "
            "of snlib.bounds.layer_norms.",
        )
        terms = (norms.log_norm21 - norms.log_sigma) * 2 / 3
        log_phi = 2 * norms.log_product + 3 * float(np.logaddexp.reduce(terms))
    return Capacity(
        theorem,
        form if theorem == "pgm" else "",
        log_phi / LOG10,
        log_bracket / LOG10,
        norms.log_product / LOG10,
        norms.log_sum / LOG10,
        norms.log_lip / LOG10,
        norms.log_ratio / LOG10,
        norms.depth,
        settings,
        premises.table(),
    )


def pgm_log_bracket(log_rho: float, steps: int, form: str) -> float:
    """log of the PGM bracket for rho = step_size Lip / kappa, without overflow at any rho.

    paper (recalled): 1 + rho sum_{t<steps} (2 rho)^t; rigorous: (1 + rho)^steps, from
    Delta_{t+1} <= (1 + rho) Delta_t + (step_size/kappa) E.
    """
    if form == "rigorous" or log_rho == -math.inf:
        return steps * float(np.logaddexp(0.0, log_rho))
    geometric = np.logaddexp.reduce(np.arange(steps) * (log_rho + math.log(2)))
    return float(np.logaddexp(0.0, log_rho + geometric))


def _wrm_log_bracket(norms: Norms, penalty: float, premises: Premises) -> float:
    below = norms.log_lip < math.log(penalty) - 1e-12  # equal but for rounding is not below
    premises.add(
        "Lip < lambda",
        f"Lip = {power_of_ten(norms.log_lip / LOG10)}, lambda = {penalty:.4g}",
        "P S < lambda = 2 wrm_gamma: else the inner problem need not be concave, and Phi is "
        "undefined",
        below,
    )
    premises.add("the attack is the exact inner maximum", "not known", "not 15 steps of it", None)
    if not below:
        return math.nan
    return math.log(penalty) - math.log(penalty - math.exp(norms.log_lip))


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _needed(name: str, value: float | None, theorem: str, *, zero: bool = False) -> float:
    message = f"{name} is None; theorem {theorem!r} needs it; give {name}=."
    errors.require(value is not None, message)
    return errors.positive(name, value, zero=zero)


def _kappa(value: float | None, theorem: str) -> float:
    errors.require(value is not None, f"kappa is None; theorem {theorem!r} needs it; give kappa=.")
    number = float(value)
    errors.require(
        0 < number < math.inf,
        f"kappa is {value!r}; it must be a number > 0, a lower bound on the input-gradient norms "
        "(snlib.bounds.kappa summarizes them).",
    )
    return number


def _pgm_settings(
    eps: float | None, step_size: float | None, steps: int, kappa: float | None
) -> dict[str, float]:
    errors.require(
        isinstance(steps, int) and steps >= 1, f"steps is {steps!r}; it must be an integer >= 1."
    )
    if step_size is None:
        step_size = 2 * _needed("eps", eps, "pgm", zero=True) / steps
    size = errors.positive("step_size", step_size, zero=True)
    settings = {"step_size": size, "steps": steps, "kappa": _kappa(kappa, "pgm")}
    return settings | ({"eps": errors.positive("eps", eps, zero=True)} if eps is not None else {})


def _wrm_lambda(wrm_gamma: float | None, wrm_lambda: float | None) -> float:
    errors.require(
        (wrm_gamma is None) != (wrm_lambda is None),
        f"wrm_gamma is {wrm_gamma!r} and wrm_lambda is {wrm_lambda!r}; theorem 'wrm' needs exactly "
        "one of them (lambda = 2 gamma).",
    )
    if wrm_lambda is not None:
        return errors.positive("wrm_lambda", wrm_lambda)
    return 2 * errors.positive("wrm_gamma", wrm_gamma)
