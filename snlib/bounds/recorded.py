"""What margins are divided by, from a recorded table instead of a net."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from snlib import errors
from snlib.bounds.capacities import capacity
from snlib.bounds.published import PUBLISHED, published_normalization

THEOREMS = {"erm": "erm", "fgm": "fgm", "pgm": "pgm"}
"""The theorem behind each training scheme that has a panel in the paper's figure."""

NEEDED = ("lower", "frobenius", "kernel_frobenius", "inputs")


def normalizations(table: pd.DataFrame, *, form: str = "rigorous") -> pd.DataFrame:
    """log10 of the published normalization and of sqrt(Phi), of every run of a margins table.

    Norms are the certified lower ends, as in the paper's figures (its power iteration gives lower
    bounds too). kappa is the smallest input-gradient norm over the clean training images, an upper
    bound on any kappa that the theorem may use, so that sqrt(Phi) here is a lower bound on the
    theorem's; an ERM run may lack it. eps is the radius of training, step_size = 2 eps / steps; the
    loss is cross-entropy.

    Args:
        table: of `snlib.load("margins", ...)`; runs that diverged are left out.
        form: of the PGM bracket, "paper" (recalled) or "rigorous".

    Returns:
        One row a run: run, scheme, beta, labels, seed, kappa, eps, published, theorem (NaN where
        the theorem needs a kappa > 0 and that of the run is 0: there is no bound).

    Raises:
        UserError: the table lacks a quantity, or mixes data sets of different mean norm.
    """
    header = table.attrs.get("provenance", {})
    means = header.get("mean_norm", [])
    errors.require(
        len(means) == 1,
        f"the table's header gives mean_norm {means}; one number is needed for eps. "
        "Load the table with snlib.load.",
    )
    rows = []
    for run, part in table[~table["diverged"]].groupby("run", sort=False):
        settings = {**header.get("settings", {}), **part.iloc[0].to_dict()}
        scheme = settings["scheme"]
        layers = layers_of(part)
        kappa, eps = _kappa(part, scheme), _eps(settings, means[0])
        mode, correction = PUBLISHED[errors.one_of("scheme", scheme, THEOREMS)]
        published = published_normalization(layers, mode=mode, extra_correction=correction)
        attacked = {"eps": eps, "kappa": kappa, "loss": "cross_entropy"} if eps else {}
        if scheme == "pgm":
            attacked |= {"steps": int(settings["steps"]), "form": form}
        theorem = math.nan
        if kappa != 0 or not attacked:
            phi = capacity(layers, theorem=THEOREMS[scheme], sigma="lower", **attacked)
            theorem = phi.log10_sqrt_phi
        rows.append(
            {
                "run": run,
                **{key: settings[key] for key in ("scheme", "beta", "labels", "seed")},
                "kappa": kappa,
                "eps": eps,
                "published": published,
                "theorem": theorem,
            }
        )
    return pd.DataFrame(rows)


def layers_of(part: pd.DataFrame, needed: Sequence[str] = NEEDED) -> pd.DataFrame:
    """One row a layer of a run, in forward order, as `layer_norms` names things.

    Raises:
        UserError: the run's rows lack a quantity of `needed`.
    """
    norms = part[part["quantity"].isin(needed)]
    present = set(norms["quantity"])
    for quantity in needed:
        errors.require(
            quantity in present,
            f"run {part['run'].iloc[0]} of the table has no quantity {quantity!r} of its layers; "
            "give the table of an experiment that measures spectra (margins, bounds).",
        )
    layers = norms.pivot(index=["x", "split"], columns="quantity", values="value").reset_index()
    layers = layers.rename(columns={"split": "layer"})
    layers["kind"] = ["conv" if "conv" in name else "linear" for name in layers["layer"]]
    return layers


def _kappa(part: pd.DataFrame, scheme: str) -> float:
    """The smallest recorded gradient norm; NaN where ERM, which needs none, has none recorded."""
    chosen = (part["quantity"] == "gradient_norm") & (part["split"] == "train") & (part["x"] == 0)
    if scheme == "erm" and not chosen.any():
        return math.nan
    errors.require(
        bool(chosen.any()),
        f"run {part['run'].iloc[0]} of the table has no smallest gradient_norm of split train; "
        "normalizations need the table of the experiment margins.",
    )
    return float(part.loc[chosen, "value"].iloc[0])


def _eps(settings: dict[str, object], mean_norm: float) -> float:
    """The radius of training, 0 for ERM."""
    if settings["scheme"] == "erm":
        return 0.0
    eps = settings.get("eps")
    known = eps is not None and not math.isnan(float(eps))
    return float(eps) if known else float(settings["eps_ratio"]) * mean_norm
