"""How loose the theorems are: every bound of every recorded run, from its table alone.

One number decides what a bound says: risk + term, where the term is that of `generalization` with
all hidden constants taken as 1 ("order") or, where a proof spells them out, as they are
("explicit"). At or above 1 it says nothing about an error rate.
"""

from __future__ import annotations

import dataclasses
import math

import pandas as pd

from snlib import errors
from snlib.bounds.capacities import Capacity, capacity
from snlib.bounds.generalization import EXPLICIT, generalization
from snlib.bounds.premises import Premises
from snlib.bounds.published import PUBLISHED, published_normalization
from snlib.bounds.recorded import layers_of

BOUNDS: dict[str, tuple[str, ...]] = {
    "erm": ("erm", "bartlett2017"),
    "fgm": ("fgm", "xiao2023"),
    "pgm": ("pgm", "pgm_recalled", "xiao2023"),
    "wrm": ("wrm",),
}
"""The bounds of each training scheme; the first is the paper's own theorem, pgm in its rigorous
form. Those of erm are about clean images, xiao2023 about the worst image of the ball."""

NEEDED = ("upper", "lower", "frobenius", "kernel_frobenius", "norm21", "inputs", "outputs")
SETTINGS = ("net", "width", "scheme", "beta", "labels", "seed")


def runs(table: pd.DataFrame, *, level: float = 0.0) -> pd.DataFrame:
    """What the bounds need of every run, one row each; runs that diverged are left out.

    kappa is the quantile `level` of the input-gradient norms at the training images, clean and
    attacked, the smaller of the two. At level 0 it is the smallest one seen, still an upper bound
    on what the theorems may use; at a higher level no theorem holds as it stands. Where it is 0,
    Theorems 2 and 3 give no bound.

    margin is the smallest recorded quantile that at least half of the rightly classified training
    images stay below (under the training attack), and risk the share of images below it. Any
    other choice moves the term by a factor of order 1 only.

    Args:
        table: of `snlib.load("bounds", ...)`.
        level: a recorded quantile level, e.g. 0, 0.01, 0.05, 0.5.

    Returns:
        DataFrame run, net, width, scheme, beta, labels, seed, samples (training images), images
        (test images), train, test, gap, input_norm (largest ||x||), size (the training attack's:
        radius, WRM 1/lambda), kappa, margin (NaN if none is positive), risk, steps, layers (a table
        in a cell).

    Raises:
        UserError: the table lacks a quantity or the level.
    """
    header = table.attrs.get("provenance", {}).get("settings", {})
    measured = table[~table["diverged"]]
    measured.attrs = {}  # pandas copies them deeply at every step
    rows = []
    for run, part in measured.groupby("run", sort=False):
        settings = {**header, **part.iloc[0].to_dict()}
        value = _Reader(part)
        train, test = (value("accuracy", split, "training") for split in ("train", "test"))
        attacks = ("none",) if settings["scheme"] == "erm" else ("none", "training")
        margin, risk = _margin(value, 1 - train)
        rows.append(
            {
                "run": run,
                **{key: settings[key] for key in SETTINGS},
                "samples": int(value("images", "train")),
                "images": int(value("images", "test")),
                "train": train,
                "test": test,
                "gap": train - test,
                "input_norm": value("input_norm", "train"),
                "size": value("attack_size", "train"),
                "kappa": min(value("gradient_norm", "train", name, level) for name in attacks),
                "margin": margin,
                "risk": risk,
                "steps": settings["steps"],
                "layers": layers_of(part, NEEDED),
            }
        )
    return pd.DataFrame(rows)


def looseness(table: pd.DataFrame, *, level: float = 0.0) -> pd.DataFrame:
    """log10 of every bound of every run, against log10 of 1, which is 0.

    Norms are certified upper ends; the loss is cross-entropy; B is the largest norm of a training
    image. Arguments as for `runs`.

    Returns:
        The columns of `runs` but layers, one row a run and bound, and: bound, log10_phi,
        log10_lip (of Lip = P S), log10_term and log10_bound (order), log10_explicit (the bound
        with its constants; NaN where none are known), defined (False where Lip < lambda or
        kappa > 0 fails or no margin is positive: the logarithms that need it are NaN), failed
        (premises known to fail), log10_published (of what the paper's figures divide margins by;
        NaN for wrm).
    """
    rows = []
    for run in runs(table, level=level).to_dict("records"):
        layers = run.pop("layers")
        published = _published(run["scheme"], layers)
        for name in BOUNDS[errors.one_of("scheme", run["scheme"], BOUNDS)]:
            phi = _capacity(name, run, layers)
            defined = phi.defined and run["margin"] > 0
            logs = _logs(phi, run, layers) if defined else dict.fromkeys(LOGS, math.nan)
            rows.append(
                {
                    **run,
                    "bound": name,
                    "log10_phi": phi.log10_phi,
                    "log10_lip": phi.log10_lip,
                    **logs,
                    "defined": defined,
                    "failed": "; ".join(phi.refuted),
                    "log10_published": published,
                }
            )
    return pd.DataFrame(rows)


LOGS = ("log10_term", "log10_bound", "log10_explicit")


def measures(loose: pd.DataFrame) -> pd.DataFrame:
    """Of each run the numbers that might rank it by its gap, all "larger means a larger gap".

    Args:
        loose: of `looseness`.

    Returns:
        One row a run, by its own theorem: the columns of `runs` and capacity (log10 sqrt(Phi)),
        normalized (log10 of sqrt(Phi) over the margin), published (log10 of the paper's
        normalization over the margin), term (log10 of the whole term, samples and sizes included),
        and two controls: margin_alone (minus log10 of the margin), samples_alone (minus log10 of
        sqrt(n)). Runs for which their theorem has no Phi are left out: all measures are to rank the
        same runs.
    """
    own = loose[(loose["bound"] == loose["scheme"]) & loose["log10_phi"].notna()]
    own = own.reset_index(drop=True)
    log_margin = own["margin"].map(lambda g: math.log10(g) if g > 0 else math.nan)
    return own.assign(
        capacity=own["log10_phi"] / 2,
        normalized=own["log10_phi"] / 2 - log_margin,
        published=own["log10_published"] - log_margin,
        term=own["log10_term"],
        margin_alone=-log_margin,
        samples_alone=-own["samples"].map(math.log10) / 2,
    )


class _Reader:
    """The values of one run's rows, by quantity, split, attack and x."""

    def __init__(self, part: pd.DataFrame) -> None:
        self.run = part["run"].iloc[0]
        keys = zip(
            part["quantity"], part["split"], part["attack"].fillna(""), part["x"], strict=True
        )
        self.values = {
            (quantity, split, attack, None if math.isnan(x) else round(x, 4)): value
            for (quantity, split, attack, x), value in zip(keys, part["value"], strict=True)
        }

    def __call__(
        self, quantity: str, split: str, attack: str = "", x: float | None = None
    ) -> float:
        key = (quantity, split, attack, None if x is None else round(x, 4))
        place = f" under attack {attack!r}" if attack else ""
        errors.require(
            key in self.values,
            f"run {self.run} of the table has no {quantity} of split {split!r}{place}"
            f"{'' if x is None else f' at level {x:g}'}; give the table of the experiment bounds "
            "and one of its levels.",
        )
        return float(self.values[key])


def _margin(value: _Reader, error: float) -> tuple[float, float]:
    margins = {key[3]: number for key, number in value.values.items()
               if key[:3] == ("margin", "train", "training")}  # fmt: skip
    above = [level for level in margins if level >= (1 + error) / 2 - 1e-9]
    errors.require(
        len(above) > 0,
        f"run {value.run} of the table has no margin under the training attack; give the table of "
        "the experiment bounds.",
    )
    level = min(above)
    return (float(margins[level]) if margins[level] > 0 else math.nan), level


def _capacity(name: str, run: dict, layers: pd.DataFrame) -> Capacity:
    theorem, _, recalled = name.partition("_")
    common = {"theorem": theorem, "loss": "cross_entropy", "sigma": "upper"}
    if theorem == "wrm":
        return capacity(layers, wrm_lambda=1 / run["size"], **common)
    if theorem in ("fgm", "pgm"):
        if run["kappa"] == 0:
            return _without_kappa(theorem, layers)
        common |= {"eps": run["size"], "kappa": run["kappa"]}
    if theorem == "pgm":
        common |= {"steps": int(run["steps"]), "form": "paper" if recalled else "rigorous"}
    if theorem == "xiao2023":
        common |= {"eps": run["size"]}
    return capacity(layers, **common)


def _without_kappa(theorem: str, layers: pd.DataFrame) -> Capacity:
    """What is left of Theorem 2 or 3 where an input gradient is 0: P, S and Lip, but no Phi."""
    found = capacity(layers, theorem="erm", sigma="upper")
    failed = Premises()
    failed.add("kappa > 0", "kappa = 0", "> 0: an input gradient of 0 has no direction", False)
    return dataclasses.replace(
        found,
        theorem=theorem,
        log10_phi=math.nan,
        log10_bracket=math.nan,
        premises=pd.concat([found.premises, failed.table()], ignore_index=True),
    )


def _logs(phi: Capacity, run: dict, layers: pd.DataFrame) -> dict[str, float]:
    sizes = {
        **{key: run[key] for key in ("margin", "samples", "input_norm", "risk")},
        "width": int(layers["outputs"].max()),
    }
    order = generalization(phi, **sizes)
    logs = {"log10_term": order.log10_gap, "log10_bound": _total(run["risk"], order.log10_gap)}
    explicit = math.nan
    if phi.theorem in EXPLICIT:
        explicit = generalization(phi, **sizes, constants="explicit").log10_gap
    return {**logs, "log10_explicit": _total(run["risk"], explicit)}


def _total(risk: float, log10_gap: float) -> float:
    """log10 of risk + 10 ** log10_gap."""
    if math.isnan(log10_gap) or log10_gap > 15:
        return log10_gap
    return math.log10(risk + 10.0**log10_gap)


def _published(scheme: str, layers: pd.DataFrame) -> float:
    if scheme not in PUBLISHED:
        return math.nan
    mode, correction = PUBLISHED[scheme]
    return published_normalization(layers, mode=mode, extra_correction=correction)
