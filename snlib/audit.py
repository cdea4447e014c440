"""Can the accuracy under an attack be trusted? A dozen checks in one call.

Sources: Athalye et al. 2018, Carlini et al. 2019 (arXiv 1902.06705), Tramer et al. 2020, Pintor et
al. 2022 (arXiv 2106.09947), Croce et al. (AutoAttack's flags).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from snlib.attacks import Attack, Net, balls, square, untouched
from snlib.attacks.objectives import log_odds, slope_of, softmax
from snlib.errors import require


@dataclass(frozen=True)
class Check:
    """One finding: `value` against `limit`, and in a sentence what a failure means."""

    name: str
    passed: bool
    value: float
    limit: str
    meaning: str


@dataclass(frozen=True)
class Report:
    """All checks of one audit.

    Attributes:
        checks: in the order they ran.
        clean: clean accuracy in [0, 1] on all samples given.
        robust: accuracy under the attack among the samples that are right without it.
        samples: how many those are; all checks use them alone.
    """

    checks: tuple[Check, ...]
    clean: float
    robust: float
    samples: int

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the failed checks."""
        return tuple(check.name for check in self.checks if not check.passed)

    @property
    def table(self) -> pd.DataFrame:
        """One row per check: check, passed, value, limit, meaning."""
        rows = [(c.name, c.passed, c.value, c.limit, c.meaning) for c in self.checks]
        return pd.DataFrame(rows, columns=["check", "passed", "value", "limit", "meaning"])


def audit(
    net: Net,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    *,
    queries: int = 200,
    surrogate: Net | None = None,
    generator: torch.Generator | None = None,
) -> Report:
    """Look for signs that `attack` overstates the robustness of `net`.

    Works on the samples that the net classifies correctly, with their true labels; 64 to 256 of
    them give a useful answer at about nine times the cost of the attack.

    Args:
        net: module or function from (N, ...) to (N, K) logits.
        x: (N, ...) inputs.
        y: (N,) int64 true labels.
        attack: of kind "fgm" or "pgm", with eps > 0.
        queries: of the Square attack.
        surrogate: a net whose adversarial points are tried on `net`; None trains a small one on
            the net's own answers.
        generator: source of noise, windows and the surrogate's weights; None means seed 0.

    Raises:
        UserError: for another kind, eps 0, or when no sample is classified correctly.
    """
    require(
        attack.kind in ("fgm", "pgm") and attack.eps > 0,
        f"attack is {attack.kind!r} with eps {attack.eps}; audit needs 'fgm' or 'pgm' and eps > 0.",
    )
    generator = generator or torch.Generator().manual_seed(0)
    with untouched(net, x.device), torch.no_grad():
        right = net(x).argmax(1) == y
        require(bool(right.any()), "y agrees with no prediction of net; audit a trained net.")
        bench = _Bench(net, x[right].detach(), y[right], attack, generator)
        checks = (
            *_outputs(bench),
            *_gradients(bench),
            *_strength(bench),
            *_rivals(bench, queries, surrogate),
            _size(bench),
        )
    return Report(checks, float(right.double().mean()), bench.robust, int(right.sum()))


class _Bench:
    """The net, its correctly classified samples, and which of them the attack breaks."""

    def __init__(
        self, net: Net, x: Tensor, y: Tensor, attack: Attack, generator: torch.Generator
    ) -> None:
        self.net, self.x, self.y, self.generator = net, x, y, generator
        self.attack = attack.replace(labels="true", clip=None)
        with torch.enable_grad():
            probe = net(x[:1].clone().requires_grad_())
        self.has_gradient = probe.requires_grad
        self.x_adv = self.run(self.attack)
        broken = self.wrong(self.x_adv)
        self.robust = 1.0 - self.share(broken)
        # What a rival adds shows on the survivors alone; attacking only them saves the rest.
        self.left_x, self.left_y = x[~broken], y[~broken]

    def run(self, attack: Attack) -> Tensor:
        if not self.has_gradient:
            return self.x
        return attack(self.net, self.x, self.y, self.generator)

    def wrong(self, points: Tensor) -> Tensor:
        return self.net(points).argmax(1) != self.y

    def share(self, which: Tensor) -> float:
        return float(which.double().mean())

    def missed(self, rival: Callable[[Tensor, Tensor], Tensor]) -> float:
        """Share of all samples that `rival` (x, y) -> points breaks and the attack does not."""
        if not len(self.left_x):
            return 0.0
        points = rival(self.left_x, self.left_y)
        return int((self.net(points).argmax(1) != self.left_y).sum()) / len(self.x)

    @property
    def slack(self) -> float:
        """One sample, or one in a hundred: less than this is chance."""
        return max(0.01, 1.0 / len(self.x)) + 1e-12


def _outputs(bench: _Bench) -> tuple[Check, Check]:
    first, second = bench.net(bench.x), bench.net(bench.x)
    likely = (first >= 0).all() and ((first.sum(1) - 1).abs() < 1e-3).all()
    change = float((first - second).abs().max() / first.abs().max().clamp(min=1e-30))
    return (
        Check("logits", not bool(likely), float(likely), "not probabilities",
              "the net ends in a softmax; attack the logits before it, or gradients vanish"),
        Check("deterministic", change <= 1e-6, change, "<= 1e-6",
              "outputs change between calls; average gradients over the noise"),
    )  # fmt: skip


def _gradients(bench: _Bench) -> tuple[Check, Check]:
    """Saturation: the loss's direction against the exact one. Slope: gradient against steps."""
    norm, x = bench.attack.norm, bench.x
    if bench.has_gradient:
        used, exact = (_slope(bench, loss) for loss in (bench.attack.loss, "log_odds"))
    else:
        used = exact = torch.zeros_like(x)
    cosine = torch.cosine_similarity(_unit(used), _unit(exact), dim=1)
    saturated = bench.share(cosine < 0.99)

    direction = balls.steepest(exact.clone(), norm, "steepest")
    step = bench.attack.eps / 20
    promised = (exact.double() * direction.double()).flatten(1).sum(1)
    rise = _log_odds(bench, x + step * direction) - _log_odds(bench, x - step * direction)
    ratio = rise / (2 * step) / promised
    ratio = float(torch.where(promised > 0, ratio, torch.zeros_like(ratio)).median())
    return (
        Check("saturation", saturated <= 0.05, saturated, "<= 0.05",
              "float32 gradients vanish or turn; use loss='log_odds', check for quantisation"),
        Check("slope", 0.5 <= ratio <= 2.0, ratio, "0.5 to 2",
              "gradients do not predict the loss a twentieth of eps away; they are masked"),
    )  # fmt: skip


def _strength(bench: _Bench) -> tuple[Check, ...]:
    attack, x = bench.attack, bench.x
    far = balls.sizes(x - x.roll(1, 0), attack.norm).max() if len(x) > 1 else x.new_tensor(0.0)
    huge = attack.replace(eps=2.0 * max(float(far), attack.eps), step_size=None)
    left = 1.0 - bench.share(bench.wrong(bench.run(huge)))
    around = []
    for factor in (0.5, 2.0):
        length = attack.step_size and attack.step_size * factor
        other = attack.replace(eps=attack.eps * factor, step_size=length)
        around.append(1.0 - bench.share(bench.wrong(bench.run(other))))
    rise = max(bench.robust - around[0], around[1] - bench.robust)
    longer = attack.replace(kind="pgm", steps=4 * attack.steps, step_size=None)
    gain = 0.0
    if bench.has_gradient:
        gain = bench.missed(lambda x, y: longer(bench.net, x, y, bench.generator))
    return (
        Check("huge eps", left <= bench.slack, left, f"<= {bench.slack:.3f}",
              "accuracy is left at an eps at which every image can become any other"),
        Check("monotone", rise <= bench.slack, rise, f"<= {bench.slack:.3f}",
              "accuracy rises with eps (half, one and two eps)"),
        Check("converged", gain <= 0.02, gain, "<= 0.02",
              "four times as many PGM steps break more samples; use more steps"),
    )  # fmt: skip


def _rivals(bench: _Bench, queries: int, surrogate: Net | None) -> tuple[Check, ...]:
    """Attacks that should be weaker: what they break, the attack should have broken."""
    attack, generator = bench.attack, bench.generator
    substitute = _distil(bench) if surrogate is None else surrogate

    def noise(x: Tensor, y: Tensor) -> Tensor:
        draw = torch.randn(x.shape, generator=generator, device=generator.device).to(x)
        return x + attack.eps * balls.steepest(draw, attack.norm, "gradient")

    def search(x: Tensor, y: Tensor) -> Tensor:
        return square(
            bench.net, x, y, attack.eps, norm=attack.norm, queries=queries, generator=generator
        )

    by_noise, by_search = bench.missed(noise), bench.missed(search)
    by_transfer = bench.missed(lambda x, y: attack(substitute, x, y, generator))
    limit = f"<= {bench.slack:.3f}"
    meaning = "breaks samples that the attack leaves; its gradients mislead"
    return (
        Check("noise", by_noise <= bench.slack, by_noise, limit, f"plain noise {meaning}"),
        Check("transfer", by_transfer <= bench.slack, by_transfer, limit,
              f"a substitute's adversarial point {meaning}"),
        Check("square", by_search <= bench.slack, by_search, limit,
              f"random search without gradients {meaning}"),
    )  # fmt: skip


def _size(bench: _Bench) -> Check:
    """The constraint in float64, added up by NumPy and not by the attack's own code."""
    delta = bench.x_adv.double().cpu().numpy() - bench.x.double().cpu().numpy()
    size = np.linalg.norm(delta.reshape(len(delta), -1), ord=bench.attack.norm, axis=1).max()
    share, kept = float(size / bench.attack.eps), bool(size <= bench.attack.eps)
    return Check("norm", kept, share, "<= 1", "the perturbation exceeds eps")


def _slope(bench: _Bench, loss: str) -> Tensor:
    """Gradient of the loss at x, exactly as an attack computes it."""
    with torch.enable_grad():
        z = bench.x.clone().requires_grad_()
        logits = bench.net(z)
        slope = slope_of(loss, bench.y)(logits.detach()).to(logits.dtype)
        return torch.autograd.grad(logits, z, slope)[0]


def _unit(slope: Tensor) -> Tensor:
    flat = slope.flatten(1).double()
    return flat / flat.abs().amax(1, keepdim=True).clamp(min=1e-300)


def _log_odds(bench: _Bench, points: Tensor) -> Tensor:
    """`log_odds` of the net's answers in float64, (N,)."""
    return log_odds(bench.net(points).double(), bench.y)


def _distil(bench: _Bench, width: int = 64, steps: int = 100) -> Net:
    """A one-layer substitute that imitates the net's probabilities around the samples.

    Source: Papernot et al. 2017, reduced to full-batch Adam on noisy copies.
    """
    x, generator = bench.x, bench.generator
    features, classes = x[0].numel(), bench.net(x[:1]).shape[1]

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=generator.device).to(x)

    weights = [draw(features, width) / features**0.5, draw(width, classes) / width**0.5]
    weights = [weight.requires_grad_() for weight in weights]
    spread = bench.attack.eps / features**0.5 if bench.attack.norm == 2 else float(x.std()) / 4
    points = torch.cat([x, x + spread * draw(*x.shape)])
    target = softmax(bench.net(points)).to(x.dtype)

    def substitute(z: Tensor) -> Tensor:
        return torch.relu(z.flatten(1) @ weights[0]) @ weights[1]

    optimizer = torch.optim.Adam(weights, lr=1e-2)
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            (-(target * substitute(points).log_softmax(1)).sum(1).mean()).backward()
            optimizer.step()
    for weight in weights:
        weight.requires_grad_(False)
    return substitute
