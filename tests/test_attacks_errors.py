"""Bad input: one line that names the argument, its value and what to do."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from snlib import bounds, evaluation
from snlib.attacks import Attack, fgm, pgm, pixel_box, square, trades_attack, wrm
from snlib.errors import UserError, fitting

NET = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
CONVOLUTION = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Flatten())
WITHOUT_BIASES = nn.Sequential(nn.Flatten(), nn.Linear(12, 4, bias=False))
X = torch.zeros(5, 3, 2, 2)
Y = torch.zeros(5, dtype=torch.int64)


class Shift(nn.Module):
    """A last layer without parameters, whose weights are of another dtype."""

    def forward(self, x):
        return x @ torch.eye(4, dtype=torch.float64)


def broken_net():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    net[1].weight.data[0, 0] = math.nan
    return net


@pytest.mark.parametrize(("call", "words"), [
    (lambda: pgm(NET, X, Y, -1.0), ["eps", "-1.0"]),
    (lambda: pgm(NET, X, Y, math.nan), ["eps", "nan"]),
    (lambda: pgm(NET, X, Y, math.inf), ["eps", "inf"]),
    (lambda: pgm(NET, X, Y, torch.ones(4)), ["eps", "(4,)", "(5,)"]),
    (lambda: pgm(NET, X, Y, torch.tensor([1.0, 1, 1, 1, -2])), ["eps", "-2.0"]),
    (lambda: pgm(NET, X, Y, 1.0, norm=3), ["norm", "3", "inf"]),
    (lambda: pgm(NET, X, Y, 1.0, norm=[2]), ["norm", "[2]"]),
    (lambda: pgm(NET, X, Y, 1.0, steps=0), ["steps", "0"]),
    (lambda: pgm(NET, X, Y, 1.0, steps=1.5), ["steps", "1.5"]),
    (lambda: pgm(NET, X, Y, 1.0, step_size=-0.1), ["step_size", "-0.1"]),
    (lambda: pgm(NET, X, Y, 1.0, loss="cross-entropy"), ["loss", "Did you mean 'cross_entropy'"]),
    (lambda: pgm(NET, X, Y, 1.0, labels="pred"), ["labels", "pred", "predicted"]),
    (lambda: pgm(NET, X, Y, 1.0, l1="coordinate"), ["l1", "coordinate", "steepest"]),
    (lambda: pgm(NET, X, Y, 1.0, precision="half"), ["precision", "half", "bfloat16"]),
    (lambda: pgm(NET, X, Y, 1.0, restarts=3), ["restarts", "3", "random_start"]),
    (lambda: pgm(NET, X, None, 1.0), ["y is None", "predicted"]),
    (lambda: pgm(NET, X, Y[:3], 1.0), ["y", "(3,)", "(5,)"]),
    (lambda: pgm(NET, X, Y.float(), 1.0), ["y", "float32", "long"]),
    (lambda: pgm(NET, X, Y + 4, 1.0), ["labels from 4 to 4", "4 logits"]),
    (lambda: pgm(NET, X, Y - 1, 1.0), ["-1", "0 to 3"]),
    (lambda: pgm(NET, X.byte(), Y, 1.0), ["x", "uint8"]),
    (lambda: pgm(NET, X * math.nan, Y, 1.0), ["x", "NaN"]),
    (lambda: pgm(NET, X[:, 0, 0, 0], Y, 1.0), ["x", "(5,)"]),
    (lambda: pgm(NET, [1.0], Y, 1.0), ["x", "list", "tensor"]),
    (lambda: pgm(broken_net(), X, Y, 1.0), ["net", "finite", "weights"]),
    (lambda: pgm(broken_net(), X, None, 1.0, labels="predicted"), ["net", "finite"]),
    (lambda: pgm(lambda x: x, X, Y, 1.0), ["net", "(N, K)"]),
    (lambda: pgm(lambda x: NET(x).detach(), X, Y, 1.0), ["net", "gradient"]),
    (lambda: pgm(NET, X, Y, 1.0, clip=(1.0, 2.0)), ["clip", "5 of 5"]),
    (lambda: pgm(NET, X, Y, 1.0, clip=3), ["clip", "3", "(low, high)"]),
    (lambda: pgm(NET, X[:, :2], Y, 1.0), ["x", "(5, 2, 2, 2)", "refuses"]),
    (lambda: fgm(CONVOLUTION, X[:, :2], Y, 1.0), ["x", "(5, 2, 2, 2)", "3 channels"]),
    (lambda: wrm(NET, X[..., :1], Y, eps=1.0), ["x", "(5, 3, 2, 1)", "refuses"]),
    (lambda: wrm(NET, X, Y, eps=-1.0), ["eps", "-1.0"]),
    (lambda: wrm(NET, X, Y + 4, eps=1.0), ["labels from 4 to 4", "4 logits"]),
    (lambda: trades_attack(NET, X[:, :2], 1.0), ["x", "(5, 2, 2, 2)", "refuses"]),
    (lambda: trades_attack(NET, X, -1.0), ["eps", "-1.0"]),
    (lambda: trades_attack(NET, X, 1.0, norm=0), ["norm", "0"]),
    (lambda: trades_attack(broken_net(), X, 1.0), ["net", "finite"]),
    (lambda: square(NET, X, Y, 1.0, norm=3), ["norm", "3"]),
    (lambda: square(NET, X, Y, -1.0), ["eps", "-1.0"]),
    (lambda: square(NET, X, Y + 4, 1.0), ["labels from 4 to 4"]),
    (lambda: Attack("pgm", 1.0, clip=3), ["clip", "3"]),
    (lambda: Attack("pgm", 1.0, norm=3), ["norm", "3"]),
    (lambda: pgm(NET, X, None, 1.0, labels="predicted", targeted=True), ["labels", "targeted"]),
    (lambda: fgm(NET, X, Y, "big"), ["eps", "big"]),
    (lambda: wrm(NET, X, Y), ["exactly one"]),
    (lambda: wrm(NET, X, Y, eps=1.0, wrm_gamma=0.5), ["exactly one"]),
    (lambda: wrm(NET, X, Y, wrm_gamma=0.0), ["wrm_gamma", "0.0"]),
    (lambda: wrm(NET, X, Y, eps=1.0, steps=-1), ["steps", "-1"]),
    (lambda: trades_attack(NET, X, 1.0, noise=-1), ["noise", "-1"]),
    (lambda: Attack("pgd", 1.0), ["kind", "pgd", "pgm"]),
    (lambda: Attack("pgm", -1.0), ["eps", "-1.0"]),
    (lambda: Attack("pgm", 1.0, steps=0), ["steps", "0"]),
    (lambda: Attack("pgm", 1.0, steps="3"), ["steps is '3'", "whole number >= 1"]),
    (lambda: Attack("pgm", 1.0, steps=None), ["steps is None", "whole number >= 1"]),
    (lambda: Attack("pgm", 1.0, steps=2.5), ["steps is 2.5", "whole number >= 1"]),
    (lambda: Attack("pgm", 1.0, restarts=None), ["restarts is None", "whole number >= 1"]),
    (lambda: Attack("pgm", 1.0, restarts=0), ["restarts is 0", "whole number >= 1"]),
    (lambda: Attack("pgm", 1.0, restarts=2), ["restarts", "2", "random_start"]),
    (lambda: Attack("fgm", 1.0, random_start=True), ["fgm", "random_start", "pgm"]),
    (lambda: Attack("wrm", 1.0, norm=math.inf), ["norm", "inf", "wrm", "norm 2 only"]),
    (lambda: Attack("trades", 1.0, labels="predicted"), ["labels", "predicted", "trades"]),
    (lambda: Attack("wrm", 1.0, loss="log_odds"), ["loss", "log_odds", "wrm", "'fgm' and 'pgm'"]),
    (lambda: Attack("trades", 1.0, loss="log_odds"), ["loss", "log_odds", "trades"]),
    (lambda: pixel_box(0.5, 0.0), ["scale", "0.0"]),
    (lambda: pixel_box(0.5, 1.0, low=1.0), ["low", "high"]),
])  # fmt: skip
def test_bad_input(call, words):
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


DOUBLE = (
    "x is torch.float64, the weights of Sequential are torch.float32",
    "give x.to(torch.float32), or net.to(torch.float64).",
)


def whole_numbers(dtype: str) -> tuple[str, str]:
    return (
        f"x is torch.{dtype}, the weights of Sequential are torch.float32",
        "give x.to(torch.float32).",
    )


@pytest.mark.parametrize("net", [NET, CONVOLUTION, WITHOUT_BIASES])
@pytest.mark.parametrize(
    ("call", "x", "words"),
    [
        (lambda net, x: fgm(net, x, Y, 1.0), X.double(), DOUBLE),
        (lambda net, x: pgm(net, x, Y, 1.0, steps=1), X.double(), DOUBLE),
        (lambda net, x: wrm(net, x, Y, eps=1.0, steps=1), X.double(), DOUBLE),
        (lambda net, x: trades_attack(net, x, 1.0, steps=1), X.double(), DOUBLE),
        (lambda net, x: square(net, x, Y, 1.0, queries=1), X.double(), DOUBLE),
        (lambda net, x: evaluation.accuracy(net, x, Y), X.double(), DOUBLE),
        (lambda net, x: evaluation.accuracy(net, x, Y), X.byte(), whole_numbers("uint8")),
        (lambda net, x: bounds.margins(net, x, Y), X.long(), whole_numbers("int64")),
        (lambda net, x: bounds.local_lipschitz(net, x), X.byte(), whole_numbers("uint8")),
    ],
)
def test_an_x_of_another_dtype_than_the_weights(net, call, x, words):
    with pytest.raises(UserError) as caught:
        call(net, x)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(words[0]) and message.endswith(words[1])


def test_a_net_at_odds_with_itself_keeps_its_own_error():
    mixed = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Linear(8, 4).double())
    buffered = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), Shift())
    for net in (mixed, buffered):
        with pytest.raises(RuntimeError, match="the same dtype") as caught:
            pgm(net, X, Y, 1.0)
        assert not isinstance(caught.value, UserError)


def test_what_has_no_weights_says_what_it_refuses():
    with pytest.raises(
        UserError, match=r"^x is torch.float64; function refuses it \(mat1 .*e.g. x.fl"
    ):
        pgm(lambda x: NET(x), X.double(), Y, 1.0)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "planted",
        "Input type (torch.FloatTensor) and weight type (torch.cuda.FloatTensor) should be equal",
    ],
)
def test_what_is_no_matter_of_shape_or_dtype_stays_as_it_is(words):
    with pytest.raises(RuntimeError) as caught, fitting(NET, X.shape, X.dtype):
        raise RuntimeError(words)
    assert not isinstance(caught.value, UserError) and str(caught.value) == words
