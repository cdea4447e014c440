"""The experiments behind Table 1: every configuration that the authors computed, printed or not.

Their code's notebook printed 62 configurations; Table 1 shows 42. Each was trained without SN and
under several budgets, one of which validation chose. Which ones is known for AlexNet alone; for the
other nets a grid here is none (inf) and the budgets that won or stand in a figure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from snlib.experiments.grid import BETAS, SCHEMES, Experiment, grid
from snlib.protocols import ADAM
from snlib.runs import Run

MNIST = dict(
    data="mnist",
    width=1.0,
    optimizer="adam",
    learning_rate=0.001,
    wrm_gamma_ratio=0.04,
)
"""What the paper's protocol changes for MNIST."""

CIFAR10_BETAS: dict[str, tuple[float, ...]] = {
    "alexnet": BETAS,  # as in the authors' code
    "elu_alexnet": (math.inf, 1.6, 1.3, 2.0, 4.0),  # winners and the figure
    "mlp1": (math.inf, 0.8, 1.0),  # winners: 0.8, of FGM 1.0
    "mlp2": (math.inf, 1.0, 0.8),  # winner: 1.0; MLP1's beside it
    "inception": (math.inf, 1.6, 1.0),  # winners and the figure
    "resnet": (math.inf, 1.6, 2.5, 1.0),  # winners and the figure
}
"""The budgets of the nets on CIFAR-10, none (inf) included."""

INF_RADII = {"alexnet": (0.1, 0.3), "inception": (0.1,), "resnet": (0.1,)}
"""The radii of linf attacks on CIFAR-10, by net, for FGM and PGM training."""

DIGITS = dict(width=0.25, optimizer="adam", learning_rate=0.005, epochs=40)
"""What the small nets on digits change of their scale: no image of digits asks for more. Chosen by
training accuracy without SN."""

DIGITS_BETAS = (math.inf, 1.3, 2.0)
"""Their budgets."""


def cifar10(base, seeds):
    """Every row of CIFAR-10; on a subset under the first budgets of each grid alone."""
    few = 3 if "train_size" in base else None
    runs = []
    for net, betas in CIFAR10_BETAS.items():
        # the authors trained MLPs by Adam, also on colour images
        part = {**base, **ADAM} if net.startswith("mlp") else base
        axes = dict(net=net, beta=betas[:few])
        runs += grid(part, seeds, scheme=("pgm", "fgm", "erm", "wrm"), **axes)
        for eps in INF_RADII.get(net, ()):
            runs += grid(part, seeds, scheme=("pgm", "fgm"), norm=math.inf, eps=eps, **axes)
    return sorted(runs, key=lambda run: run.seed)


def mnist(base, seeds):
    """Every row of MNIST."""
    base = {**base, **MNIST}
    # winners: 2, 4, 8, 16, in no figure; of softmax 1 and 16
    betas = (math.inf, 8.0, 4.0, 16.0, 2.0)
    runs = grid(base, seeds, net=("mlp1", "mlp2"), scheme=("fgm", "erm"), beta=betas)
    runs += grid(base, seeds, net="softmax", scheme=SCHEMES, beta=(math.inf, 16.0, 1.0, 4.0))
    runs += grid(base, seeds, net=("mlp1_relu", "mlp2_relu"), scheme=("fgm", "erm"), beta=betas)
    runs += grid(base, seeds, net=("mlp1", "mlp2"), scheme=("pgm", "wrm"), beta=betas)
    runs += grid(base, seeds, net=("mlp1_relu", "mlp2_relu"), scheme=("pgm", "wrm"), beta=betas)
    # ELU-Net is read at epoch 25
    net = dict(net="elu_net", epochs=25, beta=betas)
    runs += grid(base, seeds, scheme=SCHEMES, **net)
    runs += grid(base, seeds, scheme=("fgm", "pgm"), norm=math.inf, eps=0.1, **net)
    return sorted(runs, key=lambda run: run.seed)


def svhn(base, seeds):
    """Every row of SVHN."""
    # winners: 1.3, 1.6 and none; the grid is taken to be that of AlexNet on CIFAR-10
    return grid({**base, "data": "svhn"}, seeds, net="alexnet", scheme=SCHEMES, beta=BETAS)


def digits(base, seeds):
    """The table laid out on digits: small nets, all training schemes."""
    thin = grid(base, seeds, scheme=SCHEMES, beta=BETAS[:3])  # as in the experiment `gap`
    nets = dict(net=("mlp1", "mlp2", "softmax"), beta=DIGITS_BETAS)
    small = grid({**base, **DIGITS}, seeds, scheme=SCHEMES, **nets)
    return sorted(thin + small, key=lambda run: run.seed)


def _experiment(data: str, title: str, runs, *scales: str) -> Experiment:
    return Experiment(
        f"table1_{data}",
        f"Table 1, {title}: every network and training scheme",
        "10",
        runs,
        frozenset({"accuracy", "images"}),
        frozenset({"history", "accuracy"}),
        scales=scales,
    )


EXPERIMENTS = (
    _experiment("cifar10", "CIFAR-10", cifar10, "laptop", "paper"),
    Experiment(
        "table1_mnist",
        "Table 1, MNIST: every network and training scheme, published or left out",
        "10",
        mnist,
        frozenset({"accuracy", "images"}),
        scales=("laptop", "paper"),
    ),
    _experiment("svhn", "SVHN", svhn, "paper"),
    _experiment("digits", "laid out on digits", digits, "quick"),
)


@dataclass(frozen=True)
class Configuration:
    """One row of Table 1, printed or left out: data, net, training scheme, norm and linf radius.

    Attributes:
        data, net, scheme, norm: as in `Run`; norm is None for ERM.
        eps: the radius of a linf attack, in units of the input, else None: it follows the data.
        printed: whether the row is among the 42 of the published table.
    """

    data: str
    net: str
    scheme: str
    norm: float | None
    eps: float | None
    printed: bool

    def runs(self, scale: str = "paper") -> list[Run]:
        """Its runs under every budget, none (inf) included, all seeds.

        Raises:
            UserError: if the table of its data set does not exist at that scale.
        """
        (table,) = (one for one in EXPERIMENTS if one.name == f"table1_{self.data}")
        return [run for run in table.at(scale) if self == configuration_of(run, self.printed)]


def configuration_of(run: Run, printed: bool) -> Configuration:
    """The row of Table 1 that a run belongs to, `printed` or not."""
    data = "cifar10" if run.data.startswith("cifar10_") else run.data
    eps = run.eps if run.norm == math.inf else None
    return Configuration(data, run.net, run.scheme, run.norm, eps, printed)


def published_configurations() -> list[Configuration]:
    """The 62 configurations of data/paper/table1.csv.

    Left out of the printed 42 were: l2 FGM where training without SN diverged (Inception, ResNet),
    linf at 0.3, linf FGM of Inception and ResNet, linf of ELU-Net, ReLU MLPs and softmax on MNIST.
    """
    norms = {"erm": None, "fgm": 2.0, "pgm": 2.0, "wrm": 2.0}
    nets = {
        "cifar10": tuple(CIFAR10_BETAS),
        "mnist": ("elu_net", "softmax", "mlp1", "mlp1_relu", "mlp2", "mlp2_relu"),
        "svhn": ("alexnet",),
    }
    found = []
    for data, names in nets.items():
        for net in names:
            for scheme, norm in norms.items():
                diverged = scheme == "fgm" and net in ("inception", "resnet")
                printed = not (diverged or net == "softmax" or net.endswith("_relu"))
                found.append(Configuration(data, net, scheme, norm, None, printed))
    radii = {("cifar10", net): radii for net, radii in INF_RADII.items()} | {
        ("mnist", "elu_net"): (0.1,)
    }
    for (data, net), sizes in radii.items():
        for eps in sizes:
            for scheme in ("fgm", "pgm"):
                large = net in ("inception", "resnet")
                printed = data == "cifar10" and eps == 0.1 and not (large and scheme == "fgm")
                found.append(Configuration(data, net, scheme, math.inf, eps, printed))
    return found
