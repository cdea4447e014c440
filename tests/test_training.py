"""Training against a plain loop with its own attacks and dense norms."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from snlib import checkpoints, datasets, models, steps, training
from snlib.augmentation import augmented
from snlib.errors import UserError
from snlib.runs import Run

TINY = dict(data="digits", train_size=110, net="mlp1", width=0.05, batch_size=50, epochs=2)
TINY |= dict(learning_rate=0.05, eps_ratio=0.15, wrm_gamma_ratio=0.25, steps=3)


@pytest.fixture(scope="module")
def data():
    return datasets.load("digits", train_size=110)


# ------------------------------------------------------------------------ an independent training


def effective(weight: torch.Tensor, beta: float) -> torch.Tensor:
    """Eq. (9): W / max(1, sigma / beta), sigma by a dense SVD."""
    return weight / torch.clamp(torch.linalg.svdvals(weight)[0] / beta, min=1.0)


def logits_of(weights: list[torch.Tensor], x: torch.Tensor, beta: float) -> torch.Tensor:
    """A softmax layer or an ELU network; `weights` alternates matrices and biases."""
    for layer in range(0, len(weights), 2):
        x = x if layer == 0 else nn.functional.elu(x)
        x = x @ effective(weights[layer], beta).T + weights[layer + 1]
    return x


def attacked(weights, x, eps, beta, scheme, steps):
    """FGM, PGM and WRM as the paper's code writes them, labels predicted."""
    label, z = logits_of(weights, x, beta).argmax(1), x
    wrm = [1.0] + [1 / math.sqrt(t + 2) for t in range(steps or 0)]
    for step in {"erm": [], "fgm": [eps], "pgm": [2 * eps / 3] * 3, "wrm": wrm}[scheme]:
        z = z.detach().requires_grad_()
        loss = nn.functional.cross_entropy(logits_of(weights, z, beta), label, reduction="sum")
        (g,) = torch.autograd.grad(loss, z)
        if scheme == "wrm":
            z = z.detach() + step * (eps * g - (z.detach() - x))
            continue
        z = z.detach() + step * g / g.norm(dim=1, keepdim=True)
        length = (z - x).norm(dim=1, keepdim=True)
        z = x + (z - x) * torch.clamp(eps / length, max=1.0)
    return z.detach()


def plain_training(run: Run, data, eps: float) -> tuple[list[torch.Tensor], list[float]]:
    """The protocol of the paper in float64; returns weights and the mean loss of each epoch."""
    start = models.build(run.net, data.in_shape, data.classes, run.width, run.seed)
    weights = [p.detach().double().requires_grad_() for p in start.parameters()]
    velocity = [torch.zeros_like(w) for w in weights]
    order = torch.Generator().manual_seed(1_000_003 * (run.seed + 1))
    x, y, means = data.x_train.flatten(1).double(), data.y_train, []
    for epoch in range(run.epochs):
        rate, losses = run.learning_rate * run.decay ** (epoch / 390), []
        chosen = torch.randperm(len(x), generator=order)
        for batch in chosen.split(run.batch_size):
            if len(batch) < run.batch_size:
                continue
            z = attacked(weights, x[batch], eps, run.beta, run.scheme, run.steps)
            loss = nn.functional.cross_entropy(logits_of(weights, z, run.beta), y[batch])
            gradients = torch.autograd.grad(loss, weights)
            losses.append(loss.item())
            with torch.no_grad():
                for w, v, g in zip(weights, velocity, gradients, strict=True):
                    v.mul_(0.9).add_(g)
                    w.sub_(rate * v)
        means.append(sum(losses) / len(losses))
    return weights, means


@pytest.mark.parametrize("beta", [math.inf, 0.7])
@pytest.mark.parametrize("net", ["softmax", "mlp1"])
@pytest.mark.parametrize("scheme", ["erm", "fgm", "pgm", "wrm"])
def test_fit_agrees_with_a_plain_loop(data, scheme, net, beta):
    run = Run.of(**TINY | {"net": net}, scheme=scheme, beta=beta)
    mean_norm = np.linalg.norm(data.x_train.flatten(1).numpy().astype(float), axis=1).mean()
    eps = {"erm": 0.0, "wrm": 1 / (2 * 0.25 * mean_norm)}.get(scheme, 0.15 * mean_norm)
    weights, losses = plain_training(run, data, eps)
    fitted = training.fit(run, data)
    assert distance(fitted.net, weights, beta) < 1e-5
    np.testing.assert_allclose(fitted.history["loss"], losses, rtol=1e-5)
    if beta < 1:  # the budget binds, so the oracle sees more than free training
        assert max(torch.linalg.svdvals(w)[0] for w in weights if w.ndim == 2) > beta


def distance(net: nn.Module, weights: list[torch.Tensor], beta: float) -> float:
    """The largest difference between the net's effective weights and those of the plain loop."""
    linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
    found = [part for layer in linear for part in (layer.weight, layer.bias)]
    expected = [effective(w, beta) if w.ndim == 2 else w for w in weights]
    return max(float((a - b).detach().abs().max()) for a, b in zip(found, expected, strict=True))


def test_the_oracle_tells_settings_apart(data):
    """Known wrong: another scheme, budget, label, seed or number of steps does not pass."""
    settings = TINY | dict(scheme="pgm", beta=0.7, epochs=4)
    weights, _ = plain_training(Run.of(**settings), data, 0.15 * data.mean_norm)
    assert distance(training.fit(Run.of(**settings), data).net, weights, 0.7) < 1e-5
    for other in (
        dict(scheme="fgm"), dict(beta=0.71), dict(attack_labels="true"), dict(seed=1),
        dict(steps=8), dict(eps_ratio=0.16), dict(sigma_gradient="detached"),
        dict(norm_kind="operator", learning_rate=0.051),
    ):  # fmt: skip
        found = training.fit(Run.of(**settings | other), data).net
        assert distance(found, weights, 0.7) > 3e-5, other


@pytest.mark.parametrize("ratio", [0.05, 0.15])
def test_the_attack_is_sized_by_the_mean_norm(data, ratio):
    mean = float(np.mean([np.linalg.norm(x) for x in data.x_train.numpy().astype(float)]))
    for scheme in ("fgm", "pgm", "trades"):
        attack = training.attack_of(Run(scheme=scheme, eps_ratio=ratio), data)
        assert attack.eps == pytest.approx(ratio * mean, rel=1e-6) and attack.norm == 2
    attack = training.attack_of(Run(scheme="wrm", wrm_gamma_ratio=ratio), data)
    assert attack.eps == pytest.approx(1 / (2 * ratio * mean), rel=1e-6)
    attack = training.attack_of(Run(scheme="pgm", eps=0.1, norm=math.inf), data)
    assert attack.eps == 0.1 and attack.norm == math.inf and attack.labels == "predicted"
    assert attack.steps == 15 and attack.step_size is None
    assert training.attack_of(Run(), data).kind == "none"


# ------------------------------------------------------------------------------ schedule and stop


def test_the_authors_learning_rate_and_the_dropped_batch(data, monkeypatch):
    run = Run(data="digits", net="softmax", epochs=3, batch_size=40, stop_accuracy=2.0)
    rates, sizes = [], []
    step = torch.optim.SGD.step

    def spy(optimizer, *arguments, **options):
        (group,) = optimizer.param_groups
        rates.append(group["lr"])
        assert group["momentum"] == 0.9 and not group["nesterov"] and group["weight_decay"] == 0
        return step(optimizer, *arguments, **options)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    whole = steps.Step.__call__
    monkeypatch.setattr(
        steps.Step, "__call__", lambda self, x, y: sizes.append(len(y)) or whole(self, x, y)
    )
    training.fit(run, data)
    assert sizes == [40] * 6  # 110 images: two batches of 40 an epoch, 30 images dropped
    expected = [0.01 * 0.95 ** (epoch / 390) for epoch in (0, 0, 1, 1, 2, 2)]
    assert rates == pytest.approx(expected, rel=1e-12) and len(set(rates)) == 3


def test_each_epoch_is_one_pass_in_a_new_order(data, monkeypatch):
    seen = []
    numbered = copy.copy(data)
    object.__setattr__(numbered, "x_train", torch.arange(110.0).reshape(110, 1, 1, 1).expand(
        110, 1, 8, 8).contiguous())  # fmt: skip
    forward = steps.Step.__call__

    def spy(self, x, y):
        seen.append(x[:, 0, 0, 0].int().tolist())
        assert y.tolist() == data.y_train[x[:, 0, 0, 0].long()].tolist()
        return forward(self, x / 110, y)

    monkeypatch.setattr(steps.Step, "__call__", spy)
    training.fit(Run.of(**TINY | {"net": "softmax", "batch_size": 55}), numbered)
    first, second = seen[0] + seen[1], seen[2] + seen[3]
    assert sorted(first) == sorted(second) == list(range(110))
    assert first != second and first != sorted(first)


def test_training_stops_when_five_epochs_fit(data):
    easy = Run.of(**TINY | {"learning_rate": 0.1, "epochs": 150, "batch_size": 10, "width": 0.2})
    fitted = training.fit(easy, data)
    running = fitted.history["running_accuracy"]
    means = [np.mean(running[max(0, end - 5) : end]) for end in range(1, len(running) + 1)]
    reached = [end for end, mean in enumerate(means, 1) if end >= 5 and mean >= 0.999]
    assert 5 < fitted.epochs < 150 and reached == [fitted.epochs]
    assert fitted.history["epoch"] == list(range(1, fitted.epochs + 1))


def test_running_and_last_batch_accuracy_by_hand(data, monkeypatch):
    right = iter([3, 7, 5, 10, 10, 2])

    def step(self, x, y):
        return torch.tensor(next(right)), torch.tensor(1.5)

    monkeypatch.setattr(steps.Step, "__call__", step)
    run = Run.of(**TINY | {"batch_size": 36, "epochs": 2, "net": "softmax"})
    history = training.fit(run, data).history
    assert history["running_accuracy"] == [15 / 108, 22 / 108]
    assert history["last_batch_accuracy"] == [5 / 36, 2 / 36]
    assert history["loss"] == [1.5, 1.5]


@pytest.mark.parametrize("beta", [math.inf, 1.3])
@pytest.mark.parametrize("scheme", ["erm", "fgm", "pgm", "wrm", "trades"])
def test_divergence_is_recorded(data, scheme, beta):
    fitted = training.fit(Run.of(**TINY | {"learning_rate": 1e30}, scheme=scheme, beta=beta), data)
    assert fitted.diverged and fitted.epochs == 1 and math.isnan(fitted.history["loss"][0])
    assert math.isnan(fitted.history["validation_accuracy"][0])


def test_a_mistake_is_no_divergence(data):
    wrong = copy.copy(data)
    object.__setattr__(wrong, "x_train", data.x_train[:, :, :4])
    with pytest.raises((UserError, RuntimeError)):
        training.fit(Run.of(**TINY, scheme="fgm"), wrong)


def test_random_labels_are_learned_by_heart_alone(data):
    random_labels = datasets.load("digits", train_size=110, labels="random")
    assert torch.equal(random_labels.y_test, data.y_test)
    right = (random_labels.y_train == data.y_train).float().mean()
    assert 0 < right < 0.3  # a tenth stay right by chance
    options = TINY | {"epochs": 60, "batch_size": 10, "width": 0.4}
    fitted = training.fit(Run.of(**options, labels="random"), random_labels)
    assert fitted.history["running_accuracy"][-1] > 0.9
    with torch.no_grad():
        test = fitted.net(random_labels.x_test).argmax(1) == random_labels.y_test
    assert test.float().mean() < 0.35


def test_no_global_state_is_touched(data):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    training.fit(Run.of(**TINY, scheme="trades", augment=True), data)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_augmented_images_are_shifted_or_mirrored_originals():
    x = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.1
    out = augmented(x, torch.Generator().manual_seed(1))
    assert out.shape == x.shape
    kinds = set()
    for image, result in zip(x, out, strict=True):
        for mirrored in (False, True):
            source = nn.functional.pad(image.flip(2) if mirrored else image, (1, 1, 1, 1))
            for row in range(3):
                for column in range(3):
                    if torch.equal(source[:, row : row + 8, column : column + 8], result):
                        kinds.add((mirrored, row, column))
                        break
        assert kinds
    assert len({kind[0] for kind in kinds}) == 2 and len(kinds) > 10


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (nn.Module, "to"),
        (training, "box_of"),  # its images go to the device, as all others
        (steps.Step, "__call__"),
        (steps.Step, "accuracy"),
    ],
    ids=["net", "boxes", "step", "validation"],
)
def test_out_of_memory_names_the_knobs(data, monkeypatch, place, name):
    def burst(*_, **__):
        raise torch.OutOfMemoryError("tried to allocate")

    monkeypatch.setattr(place, name, burst)
    with pytest.raises(UserError, match=r"out of memory on cpu: lower batch_size \(now 50\)"):
        training.fit(Run.of(**TINY), data)


def test_history_has_the_documented_columns(data):
    fitted = training.fit(Run.of(**TINY), data)
    assert tuple(fitted.history) == checkpoints.HISTORY
    assert {len(column) for column in fitted.history.values()} == {2}
    assert not fitted.net.training


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_step_of_the_optimizer_counts_in_the_versions_of_the_weights(optimizer):
    """torch's fused optimizers leave them as they were; what is kept of a weight would go stale."""
    net = nn.Linear(3, 2)
    made = training.optimizer_of(Run(optimizer=optimizer), net)
    net(torch.ones(1, 3)).sum().backward()
    before = [weight._version for weight in net.parameters()]
    made.step()
    after = [weight._version for weight in net.parameters()]
    assert all(late > early for early, late in zip(before, after, strict=True))


@pytest.mark.parametrize("beta", [math.inf, 1.0])
def test_a_net_trains_in_the_precision_of_its_images(beta):
    data = datasets.load("digits", train_size=50)
    run = Run(data="digits", train_size=50, net="elu_alexnet", width=0.1, scheme="pgm", steps=3,
              beta=beta, batch_size=25, epochs=2)  # fmt: skip
    single, double = training.fit(run, data).net, training.fit(run, data.double()).net
    values = [*double.parameters(), *double.buffers()]
    assert {value.dtype for value in values if value.is_floating_point()} == {torch.float64}
    with torch.no_grad():
        difference = (single(data.x_test).double() - double(data.double().x_test)).abs().max()
    assert 0 < difference < 1e-3
