"""The grids: one named experiment per figure or table, at three scales.

A scale is `quick`, `laptop` or `paper`. `paper@cifar10_jpeg` is the paper's protocol with another
data set in CIFAR-10's place; its results are never mixed with those on CIFAR-10.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from snlib import errors
from snlib.runs import Run

SCALES = ("quick", "laptop", "paper")

SCHEMES = ("erm", "fgm", "pgm", "wrm")

BETAS = (math.inf, 1.6, 1.3, 1.0, 2.0, 4.0)
"""The budgets of the paper's AlexNet grid, those that it chose first."""

PUBLISHED_BETA = {"erm": 2.0, "fgm": 1.6, "pgm": 1.6, "wrm": 1.3}
"""The budget that the paper chose by validation for AlexNet on CIFAR-10."""

BASE: dict[str, dict[str, object]] = {
    # 300 of scikit-learn's digits and an eighth of the ELU-AlexNet: small enough for minutes, and
    # overfitted enough for a gap to show. Digits of 8x8 pixels are easy, hence the larger radius.
    "quick": dict(
        data="digits",
        train_size=300,
        net="elu_alexnet",
        width=0.125,
        eps_ratio=0.15,
        wrm_gamma_ratio=0.25,
        steps=10,
        learning_rate=0.05,
        decay=1.0,
        batch_size=50,
        epochs=80,
        stop_accuracy=2.0,
    ),
    "laptop": dict(data="cifar10_jpeg", train_size=4000, width=0.25, epochs=40),
    "paper": dict(data="cifar10"),
}
"""What a scale changes of the paper's settings, which are the defaults of `Run`."""

SEEDS = {"quick": (0, 1, 2), "laptop": (0, 1, 2), "paper": (0, 1, 2)}


@dataclass(frozen=True)
class Experiment:
    """A named set of runs, and what its table keeps of their records.

    Args:
        name: as the command line knows it.
        title: one line for people.
        notebook: the first two digits of the notebook that shows it.
        runs: from a scale's base settings and seeds to its runs, in order of priority.
        quantities: the measurements that its table keeps.
        suites: what must have been measured of each run.
        scales: where it exists.
    """

    name: str
    title: str
    notebook: str
    runs: Callable[[dict[str, object], tuple[int, ...]], list[Run]]
    quantities: frozenset[str]
    suites: frozenset[str] = frozenset({"history", "accuracy", "distributions", "spectrum"})
    scales: tuple[str, ...] = SCALES

    def at(self, scale: str) -> list[Run]:
        """The runs at a scale, in order of priority, each once.

        Raises:
            UserError: if there is no such scale, or not for this experiment.
        """
        base, seeds = settings_of(scale)
        errors.one_of(f"scale of {self.name}", scale.partition("@")[0], self.scales)
        return list(dict.fromkeys(self.runs(base, seeds)))


def settings_of(scale: str) -> tuple[dict[str, object], tuple[int, ...]]:
    """The base settings and the seeds of a scale, `paper@<data set>` included.

    Raises:
        UserError: if there is no such scale.
    """
    name, at, data = scale.partition("@")
    errors.one_of("scale", name, SCALES)
    errors.require(
        bool(data) or not at, f"scale is {scale!r}; name a data set after the @, as paper@mnist."
    )
    return {**BASE[name], **({"data": data} if at else {})}, SEEDS[name]


def grid(base: dict[str, object], seeds: tuple[int, ...], **axes: object) -> list[Run]:
    """Runs over the product of those `axes` that are tuples, one seed after the other."""
    fixed = {key: value for key, value in axes.items() if not isinstance(value, tuple)}
    varied = {key: value for key, value in axes.items() if isinstance(value, tuple)}
    return [
        Run(**{**base, **fixed, **dict(zip(varied, values, strict=True)), "seed": seed})
        for seed in seeds
        for values in itertools.product(*varied.values())
    ]


def _gap(base, seeds):
    return grid(base, seeds, beta=BETAS, scheme=SCHEMES)


def _curves(base, seeds):
    free = grid(base, seeds, scheme=("fgm", "pgm", "wrm"), beta=math.inf)
    capped = [
        run
        for scheme in ("fgm", "pgm", "wrm")
        for run in grid(base, seeds, scheme=scheme, beta=PUBLISHED_BETA[scheme])
    ]
    return sorted(free + capped, key=lambda run: run.seed)


def _gain(base, seeds):
    return sorted(
        grid(base, seeds, scheme="erm", beta=BETAS) + grid(base, seeds, scheme=SCHEMES, beta=1.3),
        key=lambda run: run.seed,
    )


def _margins(base, seeds):
    erm = grid(base, seeds, scheme="erm", beta=(math.inf, 1.3), labels=("true", "random"))
    adversarial = grid(base, seeds, scheme=("fgm", "pgm"), beta=(math.inf, 1.6))
    return sorted(erm + adversarial, key=lambda run: run.seed)


def _protocols(base, seeds):
    return grid(base, seeds, beta=(math.inf, 1.6), scheme=SCHEMES)


def _overshoot(base, seeds):
    # A third of the epochs: the overshoot is there long before the end of training.
    epochs = base.get("epochs", Run.epochs) // 3
    axes = dict(scheme="erm", beta=1.0, tracker=("power", "krylov"), epochs=epochs)
    adam = dict(optimizer="adam", learning_rate=0.001)
    runs = grid(base, seeds, **axes) + grid({**base, **adam}, seeds, **axes)
    return sorted(runs, key=lambda run: run.seed)


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


EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "gap",
            "generalization gap against the norm budget, four training schemes",
            "04",
            _gap,
            frozenset({"accuracy", "images"}),
        ),
        Experiment(
            "curves",
            "accuracy by epoch under the training attack, with and without SN",
            "05",
            _curves,
            frozenset({"running_accuracy", "last_batch_accuracy", "validation_accuracy"}),
        ),
        Experiment(
            "gain",
            "norm gain ||f(x)||/||x|| and input-gradient norms against the norm budget",
            "03",
            _gain,
            frozenset({"norm_gain", "gradient_norm", "lower", "upper", "reshaped"}),
        ),
        Experiment(
            "margins",
            "margin distributions, raw and normalized, true and random labels",
            "06",
            _margins,
            frozenset(
                {"margin", "gradient_norm", "accuracy", "lower", "upper", "stable_rank"}
                | {"frobenius", "kernel_frobenius", "inputs"}
            ),
        ),
        Experiment(
            "overshoot",
            "how far trained layers exceed the budget: one power iteration a step, or the default",
            "01",
            _overshoot,
            frozenset({"accuracy", "lower", "upper", "reshaped"}),
            frozenset({"history", "accuracy", "spectrum"}),
        ),
        Experiment(
            "protocols",
            "accuracy under attack by the authors' protocol and by the standard one",
            "02",
            _protocols,
            frozenset({"accuracy", "images"}),
            frozenset({"history", "accuracy", "distributions", "spectrum", "standard"}),
        ),
        Experiment(
            "table1_mnist",
            "Table 1, MNIST: every network and training scheme, published or left out",
            "10",
            _table1_mnist,
            frozenset({"accuracy", "images"}),
            scales=("laptop", "paper"),
        ),
    )
}


def experiment(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        UserError: suggesting the nearest name.
    """
    return EXPERIMENTS[errors.one_of("experiment", name, EXPERIMENTS)]


def plan(names: list[str], scale: str) -> dict[Run, frozenset[str]]:
    """Every run that these experiments need, once, in order of priority, and what to measure of it.

    The first seed of all experiments comes before the second of any.
    """
    wanted: dict[Run, frozenset[str]] = {}
    for name in names:
        for run in experiment(name).at(scale):
            wanted[run] = wanted.get(run, frozenset()) | experiment(name).suites
    return dict(sorted(wanted.items(), key=lambda item: item[0].seed))
