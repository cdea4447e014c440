"""The experiment behind the appendix's comparisons: what else could stand in the place of SN?"""

from __future__ import annotations

from snlib.experiments.grid import BETAS, Experiment, grid

NOMINAL_DECAY = 5e-4
"""The default of the authors' code. Its graph adds a decay term for each copy of the network, two
in FGM training and seventeen in PGM and WRM training, so what acts there is a multiple of it. Here
the loss holds one term: `weight_decay` is what acts."""

DECAYS = tuple(copies * NOMINAL_DECAY for copies in (17, 2, 1))

RESHAPED_BETAS = (1.3, 1.0, 1.6, 0.8, 0.5, 0.3)
"""Budgets for the norm of the reshaped kernel. A convolution's own norm is up to 5 times that for
5x5 kernels, so equal budgets compare unequal nets; the recorded spectra match them."""

WHOLE = dict(
    scheme="pgm",
    reshaped=RESHAPED_BETAS,
    decays=DECAYS,
    variants=("bn", "dropout_train", "dropout"),
)
"""The grid: training scheme, budgets of the reshaped kernel, weight decays, and variants of the net
(`dropout` is the authors', on in evaluation and in attacks too)."""

OTHER_NETS = ("inception",)
"""Nets on which the two norms alone are compared."""

PARTS = {
    "digits": dict(
        scheme="fgm",
        reshaped=RESHAPED_BETAS[:3],
        decays=DECAYS[:2],
        variants=("bn", "dropout_train"),
    ),
}
"""What is left of it where seconds count."""


def _rivals(base, seeds):
    part = {**WHOLE, **PARTS.get(base["data"], {})}
    net, scheme = base.get("net", "alexnet"), part["scheme"]
    others = () if "train_size" in base else OTHER_NETS  # only where all images are taken
    runs = []
    for name in (net, *others):
        axes = dict(scheme=scheme, net=name)
        runs += grid(base, seeds, **axes, beta=BETAS)
        runs += grid(base, seeds, **axes, beta=part["reshaped"], norm_kind="reshaped")
    runs += grid(base, seeds, scheme=scheme, weight_decay=part["decays"])
    variants = tuple(f"{net}_{variant}" for variant in part["variants"])
    runs += grid(base, seeds, scheme=scheme, net=variants)
    return sorted(runs, key=lambda run: run.seed)


EXPERIMENTS = (
    Experiment(
        "rivals",
        "adversarial training with SN, with Miyato's norm, weight decay, dropout, batch norm",
        "11",
        _rivals,
        frozenset({"accuracy", "lower", "upper", "reshaped"}),
        frozenset({"history", "accuracy", "spectrum"}),
    ),
)
