"""Layers with hand-written gradients, against torch.nn's own."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from snlib import attacks, models, spectral
from snlib.models import convolution, fast

FORMATS = (torch.contiguous_format, torch.channels_last)


def images(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    """Random images."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("memory", FORMATS)
@pytest.mark.parametrize(("size", "beta", "k"), [(9, 0.75, 1.0), (4, 0.75, 2.0), (5, 0.5, 1.0)])
def test_response_norm_is_torchs(size, beta, k, memory):
    x = images(2, 12, 3, 5).mul_(20).to(memory_format=memory)
    layer = fast.ResponseNorm(size, alpha=1e-3, beta=beta, k=k)
    twin = nn.LocalResponseNorm(size, alpha=1e-3, beta=beta, k=k)
    if size % 2 == 0:  # torch's window of an even size leans to the lower channels; ours as well
        assert layer.window(x)[5].nonzero().flatten().tolist() == [3, 4, 5, 6]
    leaf, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = layer(leaf), twin(other)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    grad = images(2, 12, 3, 5, seed=1)
    found.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(leaf.grad, other.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("memory", FORMATS)
def test_response_norm_has_a_second_derivative(memory):
    layer = fast.ResponseNorm(3, alpha=0.3)
    x = images(1, 4, 2, 2).to(memory_format=memory).requires_grad_()
    assert torch.autograd.gradgradcheck(layer, x)


def test_the_window_is_no_part_of_the_state_and_follows_its_input():
    layer = fast.ResponseNorm(3, alpha=0.3)
    wide, narrow = layer(images(1, 6, 2, 2)), layer(images(1, 4, 2, 2, dtype=torch.float32))
    assert wide.dtype == torch.float64 and narrow.shape[1] == 4
    held = {id(window) for window in layer._windows.values()}
    layer(images(1, 6, 2, 2))  # a recorded graph reads the windows where they lie
    assert len(held) == 2 and held == {id(window) for window in layer._windows.values()}
    assert not layer.state_dict() and not list(layer.buffers())
    with torch.inference_mode():
        copy.deepcopy(layer)(images(1, 5, 2, 2))
    layer(images(1, 5, 2, 2).requires_grad_()).sum().backward()  # no inference tensor was kept


def test_elu_is_torchs():
    x = torch.cat([torch.linspace(-30, 5, 701), torch.tensor([-1e-9, 0.0, math.inf])]).double()
    leaf, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = fast.ELU()(leaf), nn.ELU()(other)
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-16)
    grad = images(len(x))
    found.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(leaf.grad, other.grad, rtol=0, atol=1e-15)
    assert fast.ELU()(torch.tensor([math.nan])).isnan().all()
    assert torch.autograd.gradgradcheck(fast.ELU(), images(6).requires_grad_())


def test_a_flattened_gradient_keeps_the_format():
    x = images(2, 6, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    seen = []
    middle = x * 1
    middle.register_hook(lambda grad: seen.append(grad.stride()))
    (fast.Flatten()(middle) * torch.arange(54.0)).sum().backward()
    assert seen == [x.stride()]
    expected = torch.arange(54.0, dtype=torch.float64).view(1, 6, 3, 3).expand(2, -1, -1, -1)
    assert torch.equal(x.grad, expected)
    assert torch.autograd.gradgradcheck(lambda x: fast.Flatten()(x).square(), x)


@pytest.mark.parametrize(("channels", "kernel", "padding", "height", "width"),
                         [(1, 5, 2, 8, 8), (3, 5, 2, 7, 10), (1, 3, 1, 5, 6), (4, 5, 4, 6, 6),
                          (2, 5, 0, 9, 8), (1, 1, 0, 4, 7), (3, 5, 2, 28, 28)])  # fmt: skip
def test_the_gradient_by_blocks_is_the_convolutions(
    channels, kernel, padding, height, width, monkeypatch
):
    layer = convolution.Conv2d(channels, 6, kernel, padding).double().requires_grad_(False)
    monkeypatch.setattr(convolution, "DENSE", 0)
    x = images(3, channels, height, width).requires_grad_()
    out = layer(x)
    plain = nn.functional.conv2d(x, layer.weight, layer.bias, padding=padding)
    assert torch.equal(out, plain) and "_Narrow" in type(out.grad_fn).__name__
    grad = images(*out.shape, seed=1)
    found = torch.autograd.grad(out, x, grad)[0]
    expected = torch.autograd.grad(plain, x, grad)[0]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("memory", FORMATS)
@pytest.mark.parametrize(("kernel", "padding", "height", "width"),
                         [(5, 2, 8, 8), (5, 2, 3, 3), (3, 0, 5, 4), (3, 1, 5, 3)])  # fmt: skip
def test_a_small_convolution_as_a_matrix(kernel, padding, height, width, memory):
    layer = convolution.Conv2d(2, 6, kernel, padding).double().to(memory_format=memory)
    layer.requires_grad_(False)
    x = images(3, 2, height, width).to(memory_format=memory).requires_grad_()
    for _ in range(2):
        out = layer(x)
        plain = nn.functional.conv2d(x, layer.weight, layer.bias, padding=padding)
        torch.testing.assert_close(out, plain, rtol=1e-12, atol=1e-12)
        assert layer._dense is not None
        grad = images(*out.shape, seed=1)
        found = torch.autograd.grad(out, x, grad)[0]
        torch.testing.assert_close(found, torch.autograd.grad(plain, x, grad)[0])
        layer.weight.mul_(2)  # the matrix follows the weight
    assert set(layer.state_dict()) == {"weight", "bias"}


def fused_step(layer):
    layer.requires_grad_(True)
    layer(images(3, 2, 5, 4)).square().sum().backward()
    torch.optim.SGD(layer.parameters(), lr=0.01, fused=True).step()
    layer.requires_grad_(False)


CHANGES = {
    "a fused optimizer": fused_step,
    "data of the weight": lambda layer: layer.weight.data.mul_(0.7),
    "data of the bias": lambda layer: layer.bias.data.add_(1.0),
    "another precision": lambda layer: layer.float().double(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_matrix_of_a_convolution_follows_what_no_version_counts(change):
    layer = convolution.Conv2d(2, 6, 3, 0).double().requires_grad_(False)
    x = images(3, 2, 5, 4)
    layer(x)
    assert layer._dense is not None
    change(layer)
    plain = nn.functional.conv2d(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), plain, rtol=1e-12, atol=1e-12)


def test_a_small_convolution_under_vmap_over_weights():
    layer = convolution.Conv2d(2, 6, 3, 0).double().requires_grad_(False)
    x = images(3, 2, 5, 4)
    layer(x)
    weights = torch.stack([layer.weight, 2 * layer.weight])
    own = torch.func.vmap(lambda w: torch.func.functional_call(layer, {"weight": w}, (x,)))(weights)
    expected = [nn.functional.conv2d(x, weight, layer.bias) for weight in weights]
    torch.testing.assert_close(own, torch.stack(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dense", [0, 2**17])
def test_a_fast_convolution_has_a_second_derivative_and_learns(dense, monkeypatch):
    monkeypatch.setattr(convolution, "DENSE", dense)
    layer = convolution.Conv2d(2, 3, 3, 1).double()
    x = images(1, 2, 4, 4).requires_grad_()
    layer(x).square().sum().backward()
    assert layer.weight.grad is not None
    layer.requires_grad_(False)
    assert torch.autograd.gradgradcheck(lambda x: layer(x).square(), x)


def test_the_budget_takes_a_fast_convolution_for_a_plain_one():
    layer = convolution.Conv2d(3, 8, 5, 2)
    plain = nn.Conv2d(3, 8, 5, padding=2)
    plain.load_state_dict(layer.state_dict())
    assert spectral.operator_norm(layer, (3, 12, 12)) == spectral.operator_norm(plain, (3, 12, 12))
    net = spectral.constrain(nn.Sequential(layer), 1.0, (3, 12, 12))
    assert net[0].parametrizations.weight[0].operator.options is not None


@pytest.mark.parametrize("name", ["alexnet", "elu_alexnet", "alexnet_bn", "elu_alexnet_nolrn"])
def test_pooling_before_the_activation_gives_the_same_net(name):
    net = models.build(name, (3, 16, 16), width=0.1, seed=1).eval()
    parts = dict(net.named_children())
    order = list(parts)
    for index in (1, 2):
        pool, act = order.index(f"pool{index}"), order.index(f"act{index}")
        order[pool], order[act] = order[act], order[pool]
    twin = nn.Sequential(*(parts[part] for part in order))
    assert order.index("act1") < order.index("pool1")
    x, y = images(8, 3, 16, 16, dtype=torch.float32), torch.arange(8)
    assert torch.equal(net(x), twin(x))
    torch.testing.assert_close(
        attacks.fgm(net, x, y, 1.0), attacks.fgm(twin, x, y, 1.0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28)])
def test_a_batch_may_be_empty(shape):
    net = models.build("elu_alexnet", shape, width=0.1).to(memory_format=torch.channels_last)
    x, y = torch.zeros(0, *shape), torch.zeros(0, dtype=torch.int64)
    assert attacks.pgm(net, x, y, 1.0, steps=2).shape == x.shape


def test_an_alexnet_in_bfloat16_gives_bfloat16_gradients_of_its_input():
    net = models.build("alexnet", (3, 16, 16), width=0.1)
    x, y = images(4, 3, 16, 16, dtype=torch.float32), torch.arange(4)
    exact = attacks.fgm(net, x, y, 1.0)
    rounded = attacks.fgm(net, x, y, 1.0, precision="bfloat16")
    steps = (exact - x).flatten(1), (rounded - x).flatten(1)
    assert rounded.dtype == torch.float32
    assert float(nn.functional.cosine_similarity(*steps).min()) > 0.9


def test_fast_layers_under_vmap():
    net = models.build("alexnet", (3, 16, 16), width=0.1).to(memory_format=torch.channels_last)
    parameters = dict(net.named_parameters())
    x = images(3, 3, 16, 16, dtype=torch.float32)

    def loss(parameters, sample):
        return torch.func.functional_call(net, parameters, (sample[None],)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    net(x).square().sum().backward()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(each[name].sum(0), parameter.grad, rtol=1e-4, atol=1e-4)
