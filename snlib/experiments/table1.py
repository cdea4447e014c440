"""The experiments behind Table 1."""

from __future__ import annotations

import math

from snlib.experiments.grid import SCHEMES, Experiment, grid

MNIST = dict(
    data="mnist",
    width=1.0,
    optimizer="adam",
    learning_rate=0.001,
    wrm_gamma_ratio=0.04,
)
"""What the paper's protocol changes for MNIST."""


def _table1_mnist(base, seeds):
    base = {**base, **MNIST}
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


EXPERIMENTS = (
    Experiment(
        "table1_mnist",
        "Table 1, MNIST: every network and training scheme, published or left out",
        "10",
        _table1_mnist,
        frozenset({"accuracy", "images"}),
        scales=("laptop", "paper"),
    ),
)
