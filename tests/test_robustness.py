"""The suites `robustness`, `checks` and `autoattack`: each attack as named, counted by hand.

The oracle is a linear net of two classes. There the nearest point of the other class is at distance
|margin| / ||w_0 - w_1||, PGM goes straight to it, and accuracies under attack can be counted.
"""

import math
import sys

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from snlib import robustness
from snlib.attacks import autoattack
from snlib.checkpoints import Fitted
from snlib.datasets import Data
from snlib.errors import UserError
from snlib.experiments import BASE, experiment
from snlib.measurements import measure
from snlib.runs import Run
from snlib.training import attack_of

W, B = torch.tensor([1.2, -0.6], dtype=torch.float64), -0.2
"""Logit of class 1 minus that of class 0 is W x + B."""

ERM = Run.of(**{**BASE["quick"], "scheme": "erm"})
LINF = Run.of(**{**BASE["quick"], "scheme": "pgm", "norm": math.inf, "eps": 0.1})


@pytest.fixture(scope="module")
def data() -> Data:
    """Three splits of two classes in the plane, 60 images of 1x1x2 each; mean norm as if 10."""
    generator = torch.Generator().manual_seed(0)
    splits = {}
    for split in ("train", "validation", "test"):
        x = 2 * torch.randn(60, 1, 1, 2, generator=generator)
        noise = torch.randn(60, generator=generator)
        splits[f"x_{split}"], splits[f"y_{split}"] = x, (x[:, 0, 0, 0] + noise > 0).long()
    return Data("digits", "points", 2, ("left", "right"), **splits, mean_norm=10.0)


class Linear(nn.Module):
    """The net above, its logits times a factor, its input perhaps rounded."""

    def __init__(self, factor: float = 1.0, grid: float = 0.0) -> None:
        super().__init__()
        self.factor, self.grid = factor, grid

    def forward(self, x: Tensor) -> Tensor:
        seen = (x / self.grid).round() * self.grid if self.grid else x
        side = seen.reshape(len(x), -1) @ W.to(x.dtype) + B
        return self.factor * torch.stack([-side / 2, side / 2], dim=1)


def sides(data: Data) -> tuple[Tensor, Tensor]:
    """W x + B of the test images in float64, and whether the label is 1."""
    return data.x_test.double().reshape(-1, 2) @ W + B, data.y_test == 1


def counted(data: Data, eps: float, labels: str, norm: float = 2) -> float:
    """Accuracy on test images under any attack of radius eps, counted in float64."""
    side, label = sides(data)
    right = (side > 0) == label
    moved = side.abs() / (W.norm() if norm == 2 else W.abs().sum()) < eps
    survives = right & ~moved
    if labels == "predicted":  # a wrong image is pushed away from its wrong class
        survives = survives | (~right & moved)
    return float(survives.double().mean())


def under_wrm(data: Data, step: float, steps: int = 15) -> float:
    """Accuracy under WRM with predicted labels: the authors' iteration, along W alone."""
    side, label = sides(data)
    sign = torch.where(side > 0, 1.0, -1.0)  # of the predicted class
    along = (W @ W).item()

    def slope(moved: Tensor) -> Tensor:
        """The loss's gradient, as a multiple of W, after a move by `moved` times W."""
        return -sign * torch.sigmoid(-sign * (side + moved * along))

    moved = step * slope(torch.zeros_like(side))
    for t in range(steps):
        moved = moved + (step * slope(moved) - moved) / math.sqrt(t + 2)
    return float((((side + moved * along) > 0) == label).double().mean())


def rows_of(data: Data, net: nn.Module, suite: str, run: Run = ERM) -> pd.DataFrame:
    rows = pd.DataFrame(measure(run, Fitted(net), data, {suite}))
    rows = rows[rows["suite"] == suite]
    assert set(rows["split"]) == {"test"}
    assert not rows.duplicated(["attack", "quantity", "x"]).any()
    return rows


def test_the_curves_are_counted_ones(data, monkeypatch) -> None:
    monkeypatch.setattr(robustness, "WRM_GAMMA_RATIO", {"digits": 0.01})  # steps that are felt
    rows = rows_of(data, Linear(), "robustness")
    units = rows[rows["quantity"] == "unit"].set_index("attack")["value"].to_dict()
    step = 1 / (2 * 0.01 * 10)
    l2 = {name: pytest.approx(1.5) for name in ("fgm", "pgm", "pgm_log_odds")}
    assert units == {**l2, "pgm_inf": 0.1, "wrm": pytest.approx(step)}
    rows = rows[rows["quantity"] == "accuracy"]
    sizes = rows.groupby("attack")["x"].agg(["min", "max", "count"])
    assert (sizes["min"] == 0).all() and (sizes["count"] == 6).all()
    assert sizes["max"].to_dict() == {
        **{name: pytest.approx(3.0) for name in l2}, "pgm_inf": 0.5, "wrm": pytest.approx(step)
    }  # fmt: skip
    for row in rows.itertuples():
        if row.attack == "wrm":
            expected = under_wrm(data, row.x) if row.x else counted(data, 0.0, "true")
        else:
            norm = math.inf if row.attack == "pgm_inf" else 2
            labels = "true" if row.attack == "pgm_log_odds" else "predicted"
            expected = counted(data, row.x, labels, norm)
        assert row.value == pytest.approx(expected), row
    falls = rows[rows["attack"] != "pgm_inf"].groupby("attack")["value"].agg(["max", "min"])
    assert (falls["max"] - falls["min"] > 0.1).all()  # an attack that did nothing would show


def test_the_standard_curve_is_in_the_norm_of_training(data) -> None:
    rows = rows_of(data, Linear(), "robustness", LINF)
    rows = rows[(rows["attack"] == "pgm_log_odds") & (rows["quantity"] == "accuracy")]
    assert list(rows["x"]) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    for row in rows.itertuples():
        assert row.value == pytest.approx(counted(data, row.x, "true", math.inf))


@pytest.mark.parametrize(
    ("name", "mean_norm", "l2", "step"),
    [("cifar10", 48.654, 2.433, 5.138), ("mnist", 9.2157, 0.4608, 1.3564)],
)
def test_units_are_the_published_radii(data, name, mean_norm, l2, step) -> None:
    """FACTS 1.2: eps and eps_w as the authors' code computes them."""
    run, like = Run(data=name), Data(**{**vars(data), "name": name, "mean_norm": mean_norm})
    assert robustness.unit(run, like, "l2") == pytest.approx(l2, abs=6e-4)
    assert robustness.unit(run, like, "penalty") == pytest.approx(step, abs=6e-4)
    assert robustness.unit(run, like, "inf") == 0.1
    assert robustness.radii(run, like, "inf") == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    for kind, size in (("l2", l2), ("penalty", step)):
        found = robustness.radii(run, like, kind)
        if name == "cifar10":
            assert found == [0, 1, 2, 3, 4, 5]  # the paper's axis
        else:
            assert found[0] == 0 and found[-1] == pytest.approx((2 if kind == "l2" else 1) * size,
                                                                rel=1e-3)  # fmt: skip


@pytest.mark.parametrize("scale", ["quick", "laptop", "paper", "paper@mnist"])
def test_the_unit_of_the_penalty_is_the_step_of_the_run_s_own_training(data, scale) -> None:
    for run in experiment("robustness").at(scale):
        if run.scheme == "wrm":
            like = Data(**{**vars(data), "name": run.data, "mean_norm": 9.2157})
            step = attack_of(run, like).eps
            assert robustness.unit(run, like, "penalty") == pytest.approx(step)
            if run.data not in robustness.PAPER_UNITS:
                assert robustness.radii(run, like, "penalty")[-1] == pytest.approx(step)


@pytest.mark.parametrize("settings", [dict(eps_ratio=0.05), dict(eps=0.7), dict(eps_ratio=0.3)])
def test_the_unit_of_the_l2_radius_is_that_of_the_run_s_own_training(data, settings) -> None:
    run = Run(scheme="pgm", data="digits", **settings)
    eps = attack_of(run, data).eps
    assert robustness.unit(run, data, "l2") == pytest.approx(eps)
    assert robustness.radii(run, data, "l2")[-1] == pytest.approx(2 * eps)
    linf = Run(scheme="pgm", data="digits", norm=math.inf, eps=0.1)  # of no l2 radius
    assert robustness.unit(linf, data, "l2") == pytest.approx(0.15 * data.mean_norm)


@pytest.mark.parametrize("scale", ["quick", "laptop", "paper", "paper@mnist"])
def test_nets_without_a_radius_get_that_of_the_others_of_their_scale(scale) -> None:
    runs = experiment("protocols").at(scale)
    name = runs[0].data
    ratios = {run.eps_ratio for run in runs if run.scheme in ("fgm", "pgm")}
    assert ratios == {robustness.EPS_RATIO.get(name, robustness.PAPER_EPS)}
    gammas = {run.wrm_gamma_ratio for run in runs if run.scheme == "wrm"}
    if "@" not in scale:
        assert gammas == {robustness.WRM_GAMMA_RATIO.get(name, robustness.PAPER_WRM_GAMMA)}
    linf = {run.eps for run in experiment("robustness").at(scale) if run.norm == math.inf}
    assert linf == {robustness.INF_EPS}


def values(rows: pd.DataFrame, quantity: str = "accuracy") -> dict[str, float]:
    return rows[rows["quantity"] == quantity].set_index("attack")["value"].to_dict()


@pytest.mark.parametrize("run", [ERM, LINF])
def test_checks_of_a_net_whose_gradients_are_right(data, run) -> None:
    rows = rows_of(data, Linear(), "checks", run)
    eps, norm = (1.5, 2) if run.norm is None else (0.1, math.inf)
    assert set(rows["x"]) == {0.0, eps, robustness.HUGE * eps}
    found, sound = values(rows), counted(data, eps, "true", norm)
    huge = counted(data, robustness.HUGE * eps, "true", norm)
    assert found["none"] == pytest.approx(counted(data, 0.0, "true"))
    assert found["pgm15_predicted"] == pytest.approx(counted(data, eps, "predicted", norm))
    for name in ("one_step", "pgm15_true", "pgm15_log_odds", "restarts", "targeted", "strongest"):
        assert found[name] == pytest.approx(sound), name
    assert found["noise"] > sound and found["huge"] == pytest.approx(huge)
    assert set(values(rows, "zero_gradient").values()) == {0.0}
    assert values(rows, "broken") == {"square": 0.0}


def test_saturation_shows_in_the_share_of_zero_gradients(data) -> None:
    rows = rows_of(data, Linear(factor=1e4), "checks")
    found, zeros = values(rows), values(rows, "zero_gradient")
    assert zeros["pgm15_true"] > 0.5 and zeros["pgm15_log_odds"] == 0
    assert found["pgm15_true"] > found["pgm15_log_odds"] + 0.1
    assert found["strongest"] == pytest.approx(counted(data, 1.5, "true"))


class Flat(nn.Module):
    """Three classes: the right one just ahead, its rivals on either side in one direction.

    Logits (0, a z - b, -a z - b), z the first coordinate, and so small that probabilities are all
    but equal: the gradients of the rivals cancel in the log-odds at z = 0, and each alone wins
    from |z| = b / a on.
    """

    def forward(self, x: Tensor) -> Tensor:
        z = 1e-3 * x.reshape(len(x), -1)[:, 0]
        return torch.stack([torch.zeros_like(z), z - 1e-3, -z - 1e-3], dim=1)


def test_every_other_class_is_tried(data) -> None:
    x = torch.zeros(10, 1, 1, 2)
    x[5:, 0, 0, 1] = 3.0  # the second coordinate does not matter
    here = {"x_test": x, "y_test": torch.zeros(10, dtype=torch.int64), "classes": 3}
    found = values(rows_of(Data(**{**vars(data), **here}), Flat(), "checks"))
    assert found["none"] == found["pgm15_log_odds"] == 1.0  # the two slopes cancel
    assert found["targeted"] == 0.0  # eps is 1.5, the boundary at 1
    found = values(rows_of(Data(**{**vars(data), **here}), Flat(), "targeted"))
    assert found == {"pgm15_log_odds": 1.0, "targeted": 0.0}


@pytest.mark.parametrize("run", [ERM, LINF])
def test_targeted_is_counted_on_all_images_in_the_net_s_own_norm(data, run) -> None:
    found = values(rows_of(data, Linear(factor=1e4), "targeted", run))
    eps, norm = (1.5, 2) if run.norm is None else (0.1, math.inf)
    sound = pytest.approx(counted(data, eps, "true", norm))
    assert found == {"pgm15_log_odds": sound, "targeted": sound}


def test_masked_gradients_show_in_what_random_search_breaks(data) -> None:
    rows = rows_of(data, Linear(grid=0.25), "checks")
    found, broken = values(rows), values(rows, "broken")["square"]
    assert set(values(rows, "zero_gradient").values()) == {1.0}
    assert found["pgm15_log_odds"] == found["none"] == found["huge"]
    assert broken > 0.1
    # random starts come before random search, and may break some themselves
    assert found["strongest"] <= found["none"] - broken + 1e-9


def test_only_the_first_images_are_tried(data, monkeypatch) -> None:
    monkeypatch.setattr(robustness, "CHECKED_IMAGES", {"digits": 7})
    monkeypatch.setattr(robustness, "IMAGES", {"digits": 5})
    side, label = sides(data)
    right = ((side > 0) == label).double()
    assert values(rows_of(data, Linear(), "checks"))["none"] == pytest.approx(
        float(right[:7].mean())
    )
    rows = rows_of(data, Linear(), "robustness")
    clean = rows[(rows["x"] == 0) & (rows["quantity"] == "accuracy")]
    assert set(clean["value"]) == {float(right[:5].mean())}


class Ten(Linear):
    """The same two classes read off the first two pixels, and eight classes that never win."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x[:, :, 0, :2])
        low = logits.min(1, keepdim=True).values - 50 - torch.arange(8)
        return torch.cat([logits, low.to(logits)], dim=1)


def test_autoattack_is_counted_too(data, monkeypatch) -> None:
    pytest.importorskip("pyautoattack", reason="pyautoattack is not installed")
    asked = []

    def first_part(*arguments, **options):
        """One of the four attacks of the standard version, which takes a quarter of a minute."""
        asked.append(options)
        return autoattack(*arguments, **options, parts=("apgd-ce",))

    monkeypatch.setattr(robustness, "autoattack", first_part)
    few = Data(**{**vars(data), "x_test": data.x_test[:20], "y_test": data.y_test[:20]})
    # the library wants images of five pixels and more, and more than two classes
    large = torch.zeros(20, 1, 8, 8)
    large[:, :, :1, :2] = few.x_test
    large = Data(**{**vars(few), "x_test": large})
    found = values(rows_of(large, Ten(), "autoattack"))
    assert found == {"autoattack": pytest.approx(counted(few, 1.5, "true"))}
    assert asked == [{"norm": 2.0}]  # no weaker version, no fewer parts
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(UserError, match="pyautoattack"):
        rows_of(large, Ten(), "autoattack")
