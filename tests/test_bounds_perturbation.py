"""The perturbation inequalities (a)-(e) on random nets, in float64, nets without biases.

The nets, the loss and the attacks are written here, in batches of independent nets; what is
tested are the bounds.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from snlib import bounds
from snlib.bounds import perturbation
from snlib.errors import UserError

NETS = 120  # for each depth
RADIUS = 1.5  # B


def forward(weights: list[Tensor], x: Tensor) -> Tensor:
    """weights (M, out, in) each, x (M, in) -> logits (M, K): ELU between the layers."""
    for index, weight in enumerate(weights):
        x = torch.bmm(weight, x[:, :, None])[:, :, 0]
        if index < len(weights) - 1:
            x = torch.nn.functional.elu(x)
    return x


def gradient(weights: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Of cross-entropy / sqrt(2), which is 1-Lipschitz and 1-smooth in the logits."""
    leaf = x.detach().requires_grad_()
    loss = torch.nn.functional.cross_entropy(forward(weights, leaf), y, reduction="sum")
    return torch.autograd.grad(loss / math.sqrt(2), leaf)[0]


class Nets:
    """M random nets of one depth, perturbed weights, inputs with ||x|| <= B, and their norms."""

    def __init__(self, depth: int) -> None:
        generator = torch.Generator().manual_seed(depth)
        kind = {"generator": generator, "dtype": torch.float64}
        width, classes = 6, 4
        shapes = [(width, 5)] + [(width, width)] * (depth - 2) + [(classes, width)]
        self.weights, self.moved, norms, moves = [], [], [], []
        for shape in shapes:
            weight = torch.randn(NETS, *shape, **kind)
            target = 0.4 + 1.4 * torch.rand(NETS, **kind)
            weight *= (target / torch.linalg.matrix_norm(weight, 2))[:, None, None]
            move = torch.randn(NETS, *shape, **kind)
            # Half of the nets move along their own top singular vectors: the worst direction.
            u, _, v = torch.linalg.svd(weight)
            aligned = u[:, :, :1] @ v[:, :1, :]
            move = torch.where((torch.arange(NETS) % 2 == 0)[:, None, None], aligned, move)
            share = 10.0 ** (-4 * torch.rand(NETS, **kind))
            size = share * target / depth
            move *= (size / torch.linalg.matrix_norm(move, 2))[:, None, None]
            self.weights.append(weight)
            self.moved.append(weight + move)
            norms.append(target)
            moves.append(size)
        self.sigma, self.size = torch.stack(norms, 1), torch.stack(moves, 1)
        x = torch.randn(NETS, 5, **kind)
        self.x = RADIUS * x / x.norm(dim=1, keepdim=True) * torch.rand(NETS, 1, **kind)
        self.y = torch.randint(classes, (NETS,), generator=generator)

    def lip(self) -> Tensor:
        return torch.tensor([perturbation.lipschitz_of_gradient(row) for row in self.rows()[0]])

    def rows(self) -> tuple[list, list]:
        return self.sigma.tolist(), self.size.tolist()

    def bound(self, function, radius) -> Tensor:
        """function(sigma, moved, B) for every net; radius a number or one for each net."""
        radii = torch.as_tensor(radius, dtype=torch.float64).expand(NETS).tolist()
        pairs = zip(*self.rows(), radii, strict=True)
        return torch.tensor([function(*arguments) for arguments in pairs], dtype=torch.float64)


@pytest.fixture(scope="module", params=[2, 3, 5])
def nets(request) -> Nets:
    return Nets(request.param)


def check(left: Tensor, right: Tensor) -> None:
    """left <= right for all nets, and the comparison is no empty one."""
    ratio = left / right
    assert left.max() > 1e-8
    assert ratio.max() <= 1.0, float(ratio.max())


def test_a_outputs(nets):
    change = (forward(nets.moved, nets.x) - forward(nets.weights, nets.x)).norm(dim=1)
    check(change, nets.bound(perturbation.output_change, RADIUS))


def test_b_gradients(nets):
    change = gradient(nets.moved, nets.x, nets.y) - gradient(nets.weights, nets.x, nets.y)
    check(change.norm(dim=1), nets.bound(perturbation.gradient_change, RADIUS))


def test_b_the_two_forms_of_e_are_in_order(nets):
    change = nets.bound(perturbation.gradient_change, RADIUS)
    product, total = nets.sigma.prod(1), (nets.size / nets.sigma).sum(1)
    sums = nets.sigma.cumprod(1).sum(1)
    assert (change <= math.e**2 * product * total * (1 + RADIUS * sums) * (1 + 1e-12)).all()


def test_b_the_gradient_is_lipschitz_with_p_s(nets):
    for step in (1e-3, 1.0):
        generator = torch.Generator().manual_seed(7)
        other = nets.x + step * torch.randn(NETS, 5, generator=generator, dtype=torch.float64)
        change = gradient(nets.weights, other, nets.y) - gradient(nets.weights, nets.x, nets.y)
        check(change.norm(dim=1), nets.lip() * (other - nets.x).norm(dim=1))


def test_c_fgm(nets):
    eps = 0.3
    here, there = (gradient(net, nets.x, nets.y) for net in (nets.weights, nets.moved))
    kappa = torch.minimum(here.norm(dim=1), there.norm(dim=1))
    step, moved = (eps * g / g.norm(dim=1, keepdim=True) for g in (here, there))
    change = nets.bound(perturbation.gradient_change, RADIUS)
    pairs = zip(change.tolist(), kappa.tolist(), strict=True)
    right = torch.tensor(
        [perturbation.fgm_change(e, eps, low) for e, low in pairs], dtype=torch.float64
    )
    check((moved - step).norm(dim=1), right)
    # The whole change of an attacked output, which is what Theorem 2 rests on.
    output = forward(nets.moved, nets.x + moved) - forward(nets.weights, nets.x + step)
    reach = nets.bound(perturbation.output_change, RADIUS + eps)
    check(output.norm(dim=1), reach + nets.sigma.prod(1) * right)


def test_d_wrm(nets):
    lip = nets.lip()
    penalty = 1.5 * lip  # the fixed point is then a contraction with 2/3

    def attack(weights: list[Tensor]) -> Tensor:
        d = torch.zeros_like(nets.x)
        for _ in range(120):
            d = gradient(weights, nets.x + d, nets.y) / penalty[:, None]
        return d

    step, moved = attack(nets.weights), attack(nets.moved)
    # The moved net's Lip is larger, but the proof needs the contraction of one of them only.
    radius = RADIUS + torch.maximum(step.norm(dim=1), moved.norm(dim=1))
    change = nets.bound(perturbation.gradient_change, radius)
    arguments = zip(change.tolist(), penalty.tolist(), lip.tolist(), strict=True)
    right = torch.tensor([perturbation.wrm_change(*a) for a in arguments], dtype=torch.float64)
    check((moved - step).norm(dim=1), right)


def pgm(nets: Nets, weights: list[Tensor], eps: float, step: float, steps: int):
    """(perturbation, smallest gradient norm on the way), l2, no random start."""
    d, low = torch.zeros_like(nets.x), torch.full((NETS,), math.inf, dtype=torch.float64)
    for _ in range(steps):
        g = gradient(weights, nets.x + d, nets.y)
        low = torch.minimum(low, g.norm(dim=1))
        d = d + step * g / g.norm(dim=1, keepdim=True)
        d = d * (eps / d.norm(dim=1, keepdim=True)).clamp(max=1.0)
    return d, low


def test_e_pgm(nets):
    eps, steps = 0.3, 15
    step = 2 * eps / steps
    (d, low), (moved, other) = (pgm(nets, w, eps, step, steps) for w in (nets.weights, nets.moved))
    kappa, lip = torch.minimum(low, other), nets.lip()
    change = nets.bound(perturbation.gradient_change, RADIUS + eps)
    rows = zip(change.tolist(), kappa.tolist(), lip.tolist(), strict=True)
    right = torch.tensor(
        [perturbation.pgm_change(e, step, low, top, steps) for e, low, top in rows],
        dtype=torch.float64,
    )
    check((moved - d).norm(dim=1), right)


def test_e_the_sum_is_the_closed_form_of_the_capacity():
    sigma, step, kappa, steps = (1.2, 0.7, 1.5), 0.04, 0.2, 15
    lip = perturbation.lipschitz_of_gradient(sigma)
    rho = step * lip / kappa
    pairs = [(norm, norm) for norm in sigma]
    for form, closed in (
        ("rigorous", ((1 + rho) ** steps - 1) / rho),
        ("paper", (1 - (2 * rho) ** steps) / (1 - 2 * rho)),
    ):
        found = perturbation.pgm_change(1.0, step, kappa, lip, steps, form)
        assert found == pytest.approx(step / kappa * closed, rel=1e-10)
        # bracket = 1 + Lip times the change of the attack for a unit change of the gradient
        capacity = bounds.capacity(
            pairs, theorem="pgm", step_size=step, kappa=kappa, steps=steps, form=form
        )
        assert 10**capacity.log10_bracket == pytest.approx(1 + lip * found, rel=1e-10)


def test_e_the_recalled_form_is_no_bound_when_rho_is_small():
    # A quadratic loss with a nearly constant gradient: each step adds a full step_size/kappa E.
    step, kappa, lip, steps, change = 0.04, 1.0, 1e-6, 15, 1e-3
    drift = steps * step / kappa * change
    assert perturbation.pgm_change(change, step, kappa, lip, steps) >= drift * (1 - 1e-9)
    assert perturbation.pgm_change(change, step, kappa, lip, steps, "paper") < drift / 7


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: perturbation.output_change([1.0, 1.0], [0.1], 1.0), ("(2,)", "(1,)")),
        (lambda: perturbation.output_change([1.0, 1.0], [0.1, 0.6], 1.0), ("s_i / 2",)),
        (lambda: perturbation.wrm_change(1.0, 2.0, 2.0), ("Lip < lambda",)),
        (lambda: perturbation.fgm_change(1.0, -0.1, 1.0), ("eps is -0.1",)),
        (lambda: perturbation.pgm_change(1.0, 0.1, 0.0, 1.0, 3), ("kappa is 0.0",)),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value
