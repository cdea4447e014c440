"""Layers that PyTorch lacks, against TensorFlow's definitions written out in NumPy."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from snlib import models, spectral
from snlib.models import layers

COLOUR, GREY = (3, 28, 28), (1, 28, 28)


def test_response_norm_is_tensorflows():
    x = torch.randn(2, 96, 3, 3, generator=torch.Generator().manual_seed(1)) * 30
    ours = models.build("alexnet", COLOUR).lrn1(x)
    expected, pixels = np.empty(x.shape), x.double().numpy()
    for d in range(96):
        window = pixels[:, max(0, d - 4) : d + 5]
        expected[:, d] = pixels[:, d] / (1 + 0.001 / 9 * (window**2).sum(1)) ** 0.75
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-5)


def same_by_definition(
    x: np.ndarray, kernel: int, stride: int
) -> list[tuple[int, int, np.ndarray]]:
    """Windows of TensorFlow's SAME: (row, column, (C, kernel, kernel) with NaN outside)."""
    _, height, width = x.shape
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    top = max((rows - 1) * stride + kernel - height, 0) // 2
    left = max((columns - 1) * stride + kernel - width, 0) // 2
    windows = []
    for row in range(rows):
        for column in range(columns):
            window = np.full((x.shape[0], kernel, kernel), np.nan)
            for a in range(kernel):
                for b in range(kernel):
                    i, j = row * stride + a - top, column * stride + b - left
                    if 0 <= i < height and 0 <= j < width:
                        window[:, a, b] = x[:, i, j]
            windows.append((row, column, window))
    return windows


SAME_CASES = [(3, 2, 8, 8), (3, 2, 7, 8), (3, 2, 7, 7), (8, 2, 12, 9), (2, 1, 5, 5), (4, 3, 7, 10),
              (5, 1, 6, 6), (1, 2, 5, 4), (3, 2, 1, 1)]  # fmt: skip


@pytest.mark.parametrize(("kernel", "stride", "height", "width"), SAME_CASES)
def test_same_padding_is_tensorflows(kernel, stride, height, width):
    random = np.random.default_rng(kernel * 100 + stride)
    x = random.standard_normal((2, height, width))
    conv = layers.same_conv(2, 3, kernel, stride, size=(height, width)).double()
    pool = layers.SameMaxPool2d(kernel, stride, size=(height, width))
    shape = (math.ceil(height / stride), math.ceil(width / stride))
    convolved, pooled = np.empty((3, *shape)), np.empty((2, *shape))
    weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
    for row, column, window in same_by_definition(x, kernel, stride):
        convolved[:, row, column] = (weight * np.nan_to_num(window)).sum((1, 2, 3)) + bias
        pooled[:, row, column] = np.nanmax(window, (1, 2))
    image = torch.from_numpy(x)[None]
    np.testing.assert_allclose(conv(image)[0].detach().numpy(), convolved, atol=1e-12)
    np.testing.assert_array_equal(pool(image - 100)[0].numpy(), pooled - 100)


def test_asymmetric_padding_sits_inside_the_convolution():
    conv = layers.same_conv(3, 4, 3, 2, size=(28, 28))
    assert isinstance(conv, layers.SameConv2d) and isinstance(conv, nn.Conv2d)
    assert conv.padding == (0, 0) and conv.same_padding == (0, 1, 0, 1)
    # 8x8/2 on 28x28 pads 3 on every side, so the plain layer serves.
    plain = layers.same_conv(3, 4, 8, 2, size=(28, 28))
    assert type(plain) is nn.Conv2d and plain.padding == (3, 3)


def test_dropout_acts_in_evaluation_and_keeps_its_place():
    net = models.build("alexnet_dropout", GREY, width=0.25, seed=2).eval()
    x = torch.rand(2, *GREY, generator=torch.Generator().manual_seed(0))
    first, second = net(x), net(x)
    assert not torch.equal(first, second), "dropout sleeps in evaluation"
    resumed = models.build("alexnet_dropout", GREY, width=0.25, seed=2).eval()
    assert torch.equal(resumed(x), first), "the masks do not come from the seed"
    resumed.load_state_dict(copy.deepcopy(net.state_dict()))
    assert torch.equal(resumed(x), net(x)), "the state does not hold the place in the masks"


def test_dropout_keeps_four_fifths_and_the_mean():
    kept = layers.AlwaysOnDropout(0.2, seed=0)(torch.ones(200_000))
    assert set(kept.unique().tolist()) == {0.0, 1.25}
    # Standard error of the fraction: sqrt(.2 * .8 / 200,000) = 0.0009.
    assert float((kept > 0).float().mean()) == pytest.approx(0.8, abs=0.005)


@pytest.mark.parametrize(("kernel", "stride", "height", "width"), SAME_CASES)
def test_same_convolution_has_its_adjoint(kernel, stride, height, width):
    """<conv(u), v> = <u, conv^T(v)>, conv^T by a transposed convolution and a crop."""
    conv = layers.same_conv(2, 3, kernel, stride, size=(height, width), bias=False).double()
    generator = torch.Generator().manual_seed(kernel)
    u = torch.randn(1, 2, height, width, generator=generator, dtype=torch.float64)
    image = conv(u)
    v = torch.randn(image.shape, generator=generator, dtype=torch.float64)
    left, right, top, bottom = layers.same_padding((height, width), kernel, stride)
    padded = torch.zeros(1, 2, height + top + bottom, width + left + right, dtype=torch.float64)
    back = nn.functional.conv_transpose2d(v, conv.weight, stride=stride)
    padded[:, :, : back.shape[2], : back.shape[3]] = back
    adjoint = padded[:, :, top : top + height, left : left + width]
    torch.testing.assert_close((image * v).sum(), (u * adjoint).sum())


def test_operator_norm_of_an_asymmetric_convolution():
    """Its matrix, column by column from the definition, has the norm that the budget sees."""
    conv = layers.SameConv2d(2, 3, 3, 2, size=(6, 8), bias=False).double()
    weight = conv.weight.detach().numpy()
    columns = []
    for pixel in np.eye(2 * 6 * 8).reshape(-1, 2, 6, 8):
        windows = [window for _, _, window in same_by_definition(pixel, 3, 2)]
        columns.append([(weight * np.nan_to_num(w)).sum((1, 2, 3)) for w in windows])
    matrix = np.array(columns).reshape(2 * 6 * 8, -1).T
    sigma = np.linalg.svd(matrix, compute_uv=False)[0]
    found = spectral.operator_norm(conv, (2, 6, 8))
    assert found.lower * (1 - 1e-6) <= sigma <= found.upper * (1 + 1e-6)
    assert found.upper / found.lower < 1.05


@pytest.mark.parametrize(
    "name",
    ["alexnet", "elu_net", "mlp2", "inception", "resnet", "vgg", "densenet_40", "wide_resnet"],
)
def test_one_call_puts_the_budget_on_every_layer(name):
    net = models.build(name, COLOUR, width=0.1)
    names = {n for n, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    spectral.constrain(net, 1.0, COLOUR)
    assert {n for n, _ in spectral.constrained_layers(net)} == names
    net(torch.rand(2, *COLOUR)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def _strided_pointwise(net: nn.Module, x: torch.Tensor) -> list[tuple[int, ...]]:
    """Weights of strided 1x1 convolutions whose gradient the backend is asked for."""
    asked = []

    class Listen(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten.convolution_backward.default and args[-1][1]:
                weight, stride = args[2], args[4]
                if math.prod(weight.shape[2:]) == 1 and max(stride) > 1:
                    asked.append(tuple(weight.shape))
            return func(*args, **(kwargs or {}))

    with Listen():
        net(x).sum().backward()
    return asked


@pytest.mark.parametrize("name", models.NAMES)
def test_no_net_asks_for_the_gradient_that_onednn_gets_wrong(name):
    net = models.build(name, COLOUR, width=0.25)
    x = torch.rand(2, *COLOUR, generator=torch.Generator().manual_seed(1))
    assert _strided_pointwise(net, x) == []


def test_that_gradient_is_noticed():
    net = nn.Conv2d(3, 8, 1, 2)
    assert _strided_pointwise(net, torch.rand(2, *COLOUR)) == [(8, 3, 1, 1)]


@pytest.mark.parametrize("channels", [1, 3, 4, 7, 8, 12])
@pytest.mark.parametrize(("stride", "side"), [(1, 7), (2, 14), (2, 7), (3, 8)])
def test_a_projection_is_the_convolution_of_torch(channels, stride, side):
    generator = torch.Generator().manual_seed(channels)
    layer = layers.Projection(channels, 8, stride)
    x = torch.randn(16, channels, side, side, generator=generator)
    weight = layer.weight.detach().double().requires_grad_()
    pixels = x.double().requires_grad_()
    expected = nn.functional.conv2d(pixels, weight, stride=stride)
    wanted = torch.autograd.grad(expected.square().sum(), (pixels, weight))

    last = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    found = layer(last)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    got = torch.autograd.grad(found.square().sum(), (last, layer.weight))
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)

    operator = spectral.operators.Operator(layer, x.shape[1:])
    dense = operator.matrix(weight.detach())
    assert operator.unrolls
    assert torch.linalg.matrix_norm(dense, 2).item() == pytest.approx(
        torch.linalg.matrix_norm(weight.detach()[..., 0, 0], 2).item(), rel=1e-12
    )


# Of these a second pass is another function: of the masks drawn, or of the batch.
DETERMINISTIC = [name for name in models.NAMES if "dropout" not in name]


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_gradients_as_in_training_are_those_of_double_precision(name):
    net = models.build(name, COLOUR, width=0.25, seed=1).eval()
    exact = copy.deepcopy(net).double()
    x = torch.rand(8, *COLOUR, generator=torch.Generator().manual_seed(1))
    net = net.to(memory_format=torch.channels_last)
    got = net(x.contiguous(memory_format=torch.channels_last))
    expected = exact(x.double())
    got.square().sum().backward()
    expected.square().sum().backward()
    for (place, ours), theirs in zip(net.named_parameters(), exact.parameters(), strict=True):
        size = theirs.grad.norm()
        assert (ours.grad.double() - theirs.grad).norm() <= 1e-4 * size + 1e-12, place
