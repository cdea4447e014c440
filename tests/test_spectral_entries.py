"""Matrices gathered from a weight, and gradients by patches, against unit images and autograd."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from snlib.models.layers import SameConv2d
from snlib.spectral import dense_matrix
from snlib.spectral.operators import Operator

LAYERS = {
    "plain": (nn.Conv2d(2, 3, 3), (2, 5, 6)),
    "padded": (nn.Conv2d(2, 3, 5, padding=2), (2, 3, 3)),
    "strided": (nn.Conv2d(3, 2, (3, 2), (2, 1), (1, 0)), (3, 7, 5)),
    "dilated": (nn.Conv2d(1, 2, 3, padding=2, dilation=2), (1, 6, 6)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2), (4, 5, 5)),
    "circular": (nn.Conv2d(2, 3, 5, padding=2, padding_mode="circular"), (2, 3, 4)),
    "same": (SameConv2d(2, 3, 3, 2, size=(6, 6)), (2, 6, 6)),
    "line": (nn.Conv1d(2, 3, 3, padding=1), (2, 7)),
    "volume": (nn.Conv3d(1, 2, 2), (1, 3, 3, 3)),
    "transposed": (nn.ConvTranspose2d(2, 3, 3, 2, output_padding=1), (2, 3, 3)),
}


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", LAYERS)
def test_the_matrix_and_the_gradient_of_every_kind(name, memory):
    layer, in_shape = LAYERS[name]
    layer = layer.double()
    if layer.weight.dim() == 4:
        layer = layer.to(memory_format=memory)
    operator, weight = Operator(layer, in_shape), layer.weight.detach()
    for scale in (1.0, -2.0):  # the places serve every weight
        matrix = operator.matrix(scale * weight)
        assert torch.equal(matrix, scale * dense_matrix(layer, in_shape))
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(1, operator.outputs, generator=generator, dtype=torch.float64)
    v = torch.randn(1, operator.inputs, generator=generator, dtype=torch.float64)
    leaf = weight.clone().requires_grad_()
    image = torch.func.functional_call(layer, {"weight": leaf}, v.view(1, *in_shape))
    expected = torch.autograd.grad(image, leaf, u.view_as(image))[0]
    torch.testing.assert_close(operator.gradient(u, v, weight), expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3),
    st.integers(1, 2), st.integers(4, 7),
)  # fmt: skip
def test_any_plain_convolution(channels, out, kernel, stride, padding, dilation, side):
    side = max(side, dilation * (kernel - 1) + 1)
    layer = nn.Conv2d(channels, out, kernel, stride, padding, dilation).double()
    operator, weight = Operator(layer, (channels, side, side)), layer.weight.detach()
    matrix = dense_matrix(layer, (channels, side, side))
    assert torch.equal(operator.matrix(weight), matrix)
    u, v = torch.linalg.svd(matrix)[0][:, :1].T, torch.linalg.svd(matrix)[2][:1]
    sigma = (operator.gradient(u, v, weight) * weight).sum()
    torch.testing.assert_close(sigma, torch.linalg.matrix_norm(matrix, 2))
