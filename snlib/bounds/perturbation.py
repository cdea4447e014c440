"""The perturbation inequalities behind the theorems: how far outputs and attacks can move.

For a net f_w(x) = W_d s(... s(W_1 x)) without biases, s(0) = 0, s 1-Lipschitz and 1-smooth, a
1-Lipschitz and 1-smooth loss, ||x|| <= B, and weights moved by U_i with ||U_i|| <= s_i / d. With
T = sum_i ||U_i|| / s_i and e = 2.718...:

(a) ||f_{w+u}(x) - f_w(x)|| <= e B P T                       (Neyshabur et al. 2018, Lemma 2)
(b) ||grad l(f_{w+u}) - grad l(f_w)|| <= E
        = e^2 P sum_i (||U_i||/s_i + B P_i sum_{j<=i} ||U_j||/s_j) <= e^2 P T (1 + B S),
    and x -> grad l(f_w(x)) is Lipschitz with constant Lip = P S
(c) FGM: ||d' - d|| <= (eps/kappa) E
(d) WRM: ||d' - d|| <= E / (lambda - Lip)
(e) PGM: ||d' - d|| <= (step_size/kappa) E ((1 + rho)^steps - 1) / rho, rho = step_size Lip / kappa

E is taken with the largest norm of a point at which the attack reads a gradient: B for FGM,
B + eps for PGM, B + ||d|| for WRM. Kappa bounds the gradients of both networks from below.
(b)-(e) are re-derived, not quoted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from snlib import errors


def _checked(sigma: Sequence[float], moved: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    norms, moves = np.asarray(sigma, dtype=float), np.asarray(moved, dtype=float)
    errors.require(
        norms.ndim == 1 and norms.shape == moves.shape and bool((norms > 0).all()),
        f"sigma and moved have shapes {norms.shape} and {moves.shape}; they must be equal, (d,), "
        "and every sigma > 0.",
    )
    depth = len(norms)
    errors.require(
        bool(((moves >= 0) & (moves <= norms / depth * (1 + 1e-9))).all()),
        f"moved is {moves.tolist()}; each ||U_i|| must lie in [0, s_i / {depth}]; shrink it.",
    )
    return norms, moves / norms


def output_change(sigma: Sequence[float], moved: Sequence[float], input_norm: float) -> float:
    """(a): the most that an output can move, e B P T.

    Args:
        sigma: (d,) norms s_i of the layers.
        moved: (d,) norms ||U_i|| of the perturbations, each <= s_i / d.
        input_norm: B.

    Raises:
        UserError: shapes that differ, a perturbation above s_i / d.
    """
    norms, relative = _checked(sigma, moved)
    return float(math.e * input_norm * norms.prod() * relative.sum())


def gradient_change(sigma: Sequence[float], moved: Sequence[float], input_norm: float) -> float:
    """(b): E, the most that an input gradient of the loss can move; arguments as above."""
    norms, relative = _checked(sigma, moved)
    inner = relative + input_norm * np.cumprod(norms) * np.cumsum(relative)
    return float(math.e**2 * norms.prod() * inner.sum())


def lipschitz_of_gradient(sigma: Sequence[float]) -> float:
    """Lip = P S, by which x -> grad_x l(f_w(x)) is Lipschitz."""
    norms = np.asarray(sigma, dtype=float)
    return float(norms.prod() * np.cumprod(norms).sum())


def fgm_change(change: float, eps: float, kappa: float) -> float:
    """(c): the most that an FGM perturbation moves when the gradient moves by `change`."""
    return errors.positive("eps", eps, zero=True) / errors.positive("kappa", kappa) * change


def wrm_change(change: float, wrm_lambda: float, lip: float) -> float:
    """(d): the same for the exact WRM perturbation; needs lip < wrm_lambda."""
    errors.require(
        wrm_lambda > lip,
        f"wrm_lambda is {wrm_lambda!r} and Lip is {lip!r}; Theorem 4 needs Lip < lambda.",
    )
    return change / (wrm_lambda - lip)


def pgm_change(
    change: float, step_size: float, kappa: float, lip: float, steps: int, form: str = "rigorous"
) -> float:
    """(e): the same for PGM after `steps` steps.

    form "paper" is the recalled sum (step_size/kappa) E (1 - (2 rho)^steps)/(1 - 2 rho), which
    drops what is carried over from step to step and is no bound for small rho.
    """
    errors.one_of("form", form, ("paper", "rigorous"))
    once = errors.positive("step_size", step_size) / errors.positive("kappa", kappa)
    growth = 1 + once * lip if form == "rigorous" else 2 * once * lip
    return once * change * sum(growth**step for step in range(steps))
