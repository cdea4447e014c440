"""The settings of runs in words and numbers, line by line, as one would compare them with a paper.

Runs that differ in their budget and seed alone share a block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from snlib import costs, results
from snlib.datasets import raw
from snlib.experiments import experiment, settings_of
from snlib.protocols import protocol_of
from snlib.results import Store
from snlib.runs import Run

BUDGET = ("beta", "norm_kind", "tracker", "sigma_gradient")

MEAN_NORM = {"cifar10": 48.654, "cifar10_jpeg": 48.654, "mnist": 9.2157}
"""E||x||_2 of whole training sets: measured on the recompressed CIFAR-10, printed for MNIST."""

NORMS = {2.0: "l2", math.inf: "linf", 1.0: "l1", None: ""}

TRACKERS = {"krylov": "followed by a Krylov iteration", "power": "by one power iteration a step"}


def settings(name: str, scale: str, where: Store) -> list[str]:
    """Lines that say the settings of all runs of an experiment, a block a configuration."""
    base, _ = settings_of(scale)
    blocks: dict[tuple, list[Run]] = {}
    for run in experiment(name).at(scale):
        blocks.setdefault(_key(run), []).append(run)
    lines = []
    for runs in blocks.values():
        records = [results.load_record(run.name, where) for run in runs]
        known = next((record["mean_norm"] for record in records if record is not None), None)
        lines += ["", *block(runs, base, known), *_names(runs, records)]
    return lines


def _names(runs: list[Run], records: list[dict | None]) -> list[str]:
    """A line a budget: the names of its records, one a seed, and how many are there."""
    by_budget: dict[str, list[tuple[Run, dict | None]]] = {}
    for run, record in zip(runs, records, strict=True):
        by_budget.setdefault(f"{run.beta:g}{_kind(run)}", []).append((run, record))
    lines = []
    for budget, pairs in by_budget.items():
        there = [record for _, record in pairs if record is not None]
        diverged = sum(bool(record["diverged"]) for record in there)
        names = " ".join(run.name for run, _ in sorted(pairs, key=lambda pair: pair[0].seed))
        state = f"{len(there)} of {len(pairs)} done" + (
            f", {diverged} diverged" if diverged else ""
        )
        lines.append(f"    {'beta ' + budget:13} {names}  {state}")
    return lines


def block(runs: list[Run], base: Mapping[str, object], mean_norm: float | None = None) -> list[str]:
    """The settings that runs share, in lines of a label and words.

    Args:
        runs: equal but for budget and seed.
        base: the settings of their scale, which are no departure from a protocol.
        mean_norm: E||x||_2 of their training images, if it is known; else that of `MEAN_NORM`.
    """
    run = runs[0]
    if mean_norm is None and run.train_size is None and run.labels == "true":
        mean_norm = MEAN_NORM.get(run.data)
    # What the scale changes is said in the lines; the name says what differs beside it.
    protocol, exact = protocol_of(run, base), protocol_of(run)
    scaled = "" if exact == protocol else "; its numbers are the scale's, see below"
    rows = [
        ("protocol", protocol + scaled),
        ("data", _data(run)),
        ("validation", _validation(run)),
        ("network", _network(run)),
        ("budget", _budget(runs)),
        ("training", _training(run, mean_norm)),
        *_attack(run, mean_norm),
        ("optimizer", _optimizer(run)),
        ("batch", f"{run.batch_size}, a last partial batch dropped"),
        ("epochs", _epochs(run)),
        ("kept", {"last": "the last epoch", "best": "the epoch best on validation"}[run.select]),
        ("weight decay", f"{run.weight_decay:g}"),
        ("augmentation", "shifts and mirror images" if run.augment else "none"),
        ("precision", run.precision),
        ("seeds", " ".join(str(seed) for seed in sorted({other.seed for other in runs}))),
    ]
    title = f"{run.data}, {run.net}, {run.scheme.upper()} {NORMS[run.norm]}".rstrip()
    return [f"  {title}", *(f"    {label:13} {words}" for label, words in rows)]


def _key(run: Run) -> tuple:
    return tuple(
        (name, value) for name, value in run.settings().items() if name not in ("seed", *BUDGET)
    )


def _kind(run: Run) -> str:
    return " reshaped" if run.norm_kind == "reshaped" else ""


def _data(run: Run) -> str:
    (channels, height, width), classes, images = costs.of_data(run)
    part = "" if run.train_size is None else " (a part)"
    form = "whitened one by one, then cropped" if channels == 3 else "raw in [0, 1]"
    random = ", labels drawn once at random" if run.labels == "random" else ""
    if run.data not in costs.DATA:  # a folder of the reader's own, which is not opened for this
        count = "all" if run.train_size is None else f"{images:,}"
        return f"{run.data}: {count} training images{part}{random}; its sizes are not known here"
    return (
        f"{run.data}: {images:,} training images{part}, {height}x{width}x{channels}, {form}, "
        f"{classes} classes{random}"
    )


def _validation(run: Run) -> str:
    if run.validation == "train":
        return "images from outside the test set"
    if run.data not in costs.DATA:
        return "the first 500 test images, of few a quarter; the rest is the test set"
    count = raw.validation_size(costs.TEST_IMAGES.get(run.data, 10_000))
    count = 300 if run.data == "digits" else count
    return f"the first {count} test images, the rest is the test set"


def _network(run: Run) -> str:
    shape, classes, _ = costs.of_data(run)
    size = costs.size_of(run.net, shape, classes, run.width)
    thin = "" if run.width == 1 else f", width times {run.width:g}"
    cooled = "" if run.temperature == 1 else f", logits divided by {run.temperature:g}"
    return (
        f"{run.net}{thin}: {size.parameters:,} parameters, {size.macs / 1e6:.3g} M multiply-adds"
        f"{cooled}"
    )


def _budget(runs: list[Run]) -> str:
    capped = [run for run in runs if not math.isinf(run.beta)]
    betas = " ".join(dict.fromkeys(f"{run.beta:g}{_kind(run)}" for run in runs))
    if not capped:
        return "beta inf (no SN)"
    kinds = dict.fromkeys(
        f"{TRACKERS[run.tracker]}, gradient "
        + ("through sigma" if run.sigma_gradient == "exact" else "with sigma held fixed")
        for run in capped
    )
    return f"beta {betas}: on the norm of every layer, {'; '.join(kinds)}"


def _training(run: Run, mean_norm: float | None) -> str:
    named = f"E||x||_2 = {mean_norm:.5g}" if mean_norm else "E||x||_2 of the training images"
    objective = {
        "erm": "cross-entropy on the images",
        "trades": f"TRADES: clean cross-entropy + {run.trades_weight or 0:g} KL",
    }.get(run.scheme, "cross-entropy on attacked images alone")
    return f"{run.scheme.upper()}, {objective}; C2 = {named}"


def _attack(run: Run, mean_norm: float | None) -> list[tuple[str, str]]:
    if run.scheme == "erm":
        return [("attack", "none")]
    words = [f"{run.scheme.upper()} in {NORMS[run.norm]}"]
    if run.attack_labels is not None:
        predicted = run.attack_labels == "predicted"
        words.append("label: the net's clean prediction" if predicted else "label: the true one")
    words.append(
        "random start" if run.random_start or run.scheme == "trades" else "no random start"
    )
    if run.restarts > 1:
        words.append(f"measured with {run.restarts} restarts")
    words.append("clipped to the range of pixels" if run.clip else "no clipping")
    rows = [("attack", ", ".join(words))]
    if run.scheme == "wrm":
        return [*rows, *_penalty(run, mean_norm)]
    ratio = run.eps is None
    eps = run.eps if run.eps is not None else mean_norm and run.eps_ratio * mean_norm
    rule = f"eps = {run.eps_ratio:g} C2" if ratio else f"eps = {run.eps:g}"
    rows.append(("radius", rule + (f" = {eps:.4g}" if ratio and eps else "")))
    if run.steps is not None:
        step = f" = {2 * eps / run.steps:.3g}" if eps else ""
        rows.append(("steps", f"r = {run.steps}, alpha = 2 eps / {run.steps}{step}"))
    return rows


def _penalty(run: Run, mean_norm: float | None) -> list[tuple[str, str]]:
    """The penalty of WRM in its three conventions."""
    gamma = mean_norm and run.wrm_gamma_ratio * mean_norm
    ends = [f" = {value:.4g}" if gamma else "" for value in _conventions(gamma)]
    return [
        ("gamma", f"gamma = {run.wrm_gamma_ratio:g} C2{ends[0]}"),
        ("step of WRM", f"eps_w = 1 / (2 gamma){ends[1]}; Theorem 4: lambda = 2 gamma{ends[2]}"),
        ("steps", f"1 + {run.steps}"),
    ]


def _conventions(gamma: float | None) -> tuple[float, float, float]:
    return (gamma, 1 / (2 * gamma), 2 * gamma) if gamma else (0.0, 0.0, 0.0)


def _optimizer(run: Run) -> str:
    name = "SGD, momentum 0.9, not Nesterov" if run.optimizer == "sgd" else "Adam"
    rate = f"rate {run.learning_rate:g}"
    if run.schedule == "piecewise":
        return (
            f"{name}, {rate}, a tenth from half of the epochs on, a hundredth from three quarters"
        )
    if run.decay == 1:
        return f"{name}, {rate}, constant"
    return f"{name}, {rate} * {run.decay:g}^(epoch/390)"


def _epochs(run: Run) -> str:
    if run.stop_accuracy > 1:
        return f"{run.epochs}, all of them"
    return (
        f"{run.epochs} at most; stop when the mean running training accuracy of the last 5 is "
        f">= {run.stop_accuracy:g}"
    )
