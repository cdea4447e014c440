"""Operator norms and their certificates against singular values of independently built matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from snlib import models
from snlib.errors import UserError
from snlib.spectral import (
    constrain,
    dense_matrix,
    operator_frobenius,
    operator_norm,
    spectrum,
)
from snlib.spectral.budget import budget_of
from snlib.spectral.certificates import lanczos
from snlib.spectral.fourier import upper_bound
from snlib.spectral.geometry import Axis, Geometry, geometry_of
from snlib.spectral.operators import Operator

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSE = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
SIZES = {1: (4, 24), 2: (4, 9), 3: (3, 5)}
RELAXED = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def unrolled(layer: nn.Module, in_shape: tuple[int, ...]) -> Tensor:
    """(out, in) float64: the layer's effect on each unit vector, bias subtracted."""
    bias, weight = layer.bias, layer.weight
    layer = layer.double()
    with torch.no_grad():
        eye = torch.eye(math.prod(in_shape), dtype=torch.float64).reshape(-1, *in_shape)
        columns = (layer(eye) - layer(torch.zeros_like(eye[:1]))).flatten(1)
    layer.to(torch.float32)
    assert layer.weight is weight and layer.bias is bias
    return columns.T


# PyTorch says once a process that it copies the input there.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


@st.composite
def cases(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    """A random layer of any supported kind, with a random kernel, and a shape it accepts."""
    torch.manual_seed(draw(st.integers(0, 10**6)))
    kind = draw(st.sampled_from(["linear", "conv", "conv", "conv", "conv", "transpose"]))
    if kind == "linear":
        shape = (draw(st.integers(1, 40)),)
        return nn.Linear(shape[0], draw(st.integers(1, 40))), shape
    dims = draw(st.sampled_from([1, 2, 2, 3]))
    each = st.tuples
    kernel = draw(each(*[st.integers(1, 5 if dims < 3 else 3)] * dims))
    stride = draw(each(*[st.integers(1, 3)] * dims))
    dilation = draw(each(*[st.integers(1, 2)] * dims))
    size = draw(each(*[st.integers(*SIZES[dims])] * dims))
    groups = draw(st.sampled_from([1, 1, 2]))
    channels = [groups * draw(st.integers(1, 2)) for _ in range(2)]
    padding = draw(each(*[st.integers(0, 3)] * dims))
    if kind == "transpose":
        most = [max(pair) - 1 for pair in zip(stride, dilation, strict=True)]
        extra = tuple(draw(st.integers(0, limit)) for limit in most)
        layer = TRANSPOSE[dims](*channels, kernel, stride, padding, extra, groups, True, dilation)
    else:
        mode = draw(st.sampled_from(["zeros", "zeros", "circular", "reflect", "replicate"]))
        named = draw(st.sampled_from([None, None, "same", "valid"]))
        if named == "same":
            stride = (1,) * dims
        layer = CONV[dims](
            *channels, kernel, stride, named or padding, dilation, groups, True, mode
        )
    try:
        with torch.no_grad():
            empty = layer(torch.zeros(1, channels[0], *size)).numel() == 0
    except (RuntimeError, ValueError):
        empty = True
    assume(not empty)
    return layer, (channels[0], *size)


@settings(RELAXED, max_examples=250)
@given(cases())
def test_every_interval_contains_the_dense_norm(case):
    layer, shape = case
    matrix = unrolled(layer, shape)
    truth = float(torch.linalg.svdvals(matrix)[0])
    assume(truth > 0)
    assert torch.allclose(dense_matrix(layer, shape), matrix, rtol=0, atol=1e-12)
    for certificate in ("dense", "lanczos", "auto"):
        found = operator_norm(layer, shape, certificate=certificate, tolerance=1e-6)
        assert found.lower <= truth <= found.upper
        assert found.upper / found.lower - 1 < 2e-6
        assert truth / found.lower - 1 < 1e-6
    if not isinstance(layer, nn.Linear):
        found = operator_norm(layer, shape, certificate="fft")
        assert found.method == "fft" and found.failure_probability == 0.0
        assert found.lower <= truth <= found.upper
        frobenius = operator_frobenius(layer, shape)
        assert frobenius == pytest.approx(float(matrix.norm()), rel=1e-10)


@settings(RELAXED, max_examples=120)
@given(cases())
def test_the_tracked_norm_agrees_in_both_precisions(case):
    layer, shape = case
    truth = float(torch.linalg.svdvals(unrolled(layer, shape))[0])
    assume(truth > 0)
    for dtype, error in ((torch.float32, 1e-4), (torch.float64, 1e-6)):
        net = nn.Sequential(layer.to(dtype))
        constrain(net, truth / 2, shape, steps=30)
        budget = budget_of(layer)
        raw = layer.parametrizations.weight.original.detach()
        assert float(budget.sigma(raw)) == pytest.approx(truth, rel=error)
        nn.utils.parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)


@settings(RELAXED, max_examples=120)
@given(cases())
def test_adjoint_and_gradient(case):
    layer, shape = case
    assume(not isinstance(layer, nn.Linear))
    operator = Operator(layer, shape)
    matrix = unrolled(layer, shape)
    weight = layer.weight.detach().double()
    x = torch.randn(2, operator.inputs, dtype=torch.float64)
    y = torch.randn(2, operator.outputs, dtype=torch.float64)
    assert torch.allclose(operator.forward(x, weight), x @ matrix.T, atol=1e-10)
    assert torch.allclose(operator.adjoint(y, weight), y @ matrix, atol=1e-10)
    other = torch.randn_like(weight)
    slope = float((operator.gradient(y[:1], x[:1], weight) * other).sum())
    expected = float((operator.forward(x[:1], other) * y[:1]).sum())
    assert slope == pytest.approx(expected, rel=1e-9, abs=1e-9)


class SamePad(nn.Conv2d):
    """TensorFlow's SAME at stride 2 on even sizes: one more zero behind than in front."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1)))


class Scaled(nn.Conv2d):
    """No convolution of its input by its weight: only dense and Lanczos apply."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * torch.linspace(0, 1, x.shape[-1]).to(x))


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_subclasses_that_pad_by_themselves(stride):
    torch.manual_seed(0)
    layer, shape = SamePad(2, 3, 3, stride), (2, 8, 8)
    truth = float(torch.linalg.svdvals(unrolled(layer, shape))[0])
    for certificate in ("fft", "lanczos", "dense"):
        found = operator_norm(layer, shape, certificate=certificate)
        assert found.lower <= truth <= found.upper
    assert geometry_of(Operator(layer, shape), layer).axes[0].before == 0


def test_fft_is_refused_where_the_forward_is_no_convolution():
    layer = Scaled(2, 3, 3)
    with pytest.raises(UserError, match="certificate is 'fft'"):
        operator_norm(layer, (2, 8, 8), certificate="fft")
    truth = float(torch.linalg.svdvals(unrolled(layer, (2, 8, 8)))[0])
    found = operator_norm(layer, (2, 8, 8), certificate="lanczos")
    assert found.lower <= truth <= found.upper


def test_fft_at_the_input_size_would_be_no_bound():
    """The known mistake: without room for the padding the circulant norm is below the truth."""
    layer, shape = nn.Conv2d(1, 1, 3, padding=1, bias=False), (1, 5, 5)
    torch.manual_seed(0)
    ratios = []
    for _ in range(300):
        nn.init.normal_(layer.weight)
        truth = float(torch.linalg.matrix_norm(unrolled(layer, shape), 2))
        kernel = layer.weight.detach().double()
        at_size = np.abs(np.fft.fft2(kernel[0, 0].numpy(), (5, 5))).max()
        ours = upper_bound(geometry_of(Operator(layer, shape), layer), kernel)
        ratios.append(at_size / truth)
        assert ours >= truth
    assert min(ratios) < 0.97


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_circular_padding_is_exact(size, stride):
    torch.manual_seed(1)
    layer = nn.Conv2d(3, 4, 3, stride, padding=1, padding_mode="circular")
    truth = float(torch.linalg.matrix_norm(unrolled(layer, (3, size, size)), 2))
    found = operator_norm(layer, (3, size, size), certificate="fft")
    # At stride 2 on an odd size the two ends repeat a phase; that case is only bounded.
    slack = 1e-8 if stride == 1 or size % 2 == 0 else 0.5
    assert truth <= found.upper <= truth * (1 + slack)


def unfold_svd(layer: nn.Conv2d, shape: tuple[int, ...]) -> float:
    """ARPACK on patches gathered by F.unfold and spread by F.fold: no convolution, no autograd."""
    kernel = layer.weight.detach().double().flatten(1)
    options = {"kernel_size": layer.kernel_size, "padding": layer.padding, "stride": layer.stride}
    out = layer(torch.zeros(1, *shape)).shape[2:]

    def forward(x: np.ndarray) -> np.ndarray:
        patches = F.unfold(torch.from_numpy(x.reshape(1, *shape)), **options)
        return (kernel @ patches[0]).numpy().ravel()

    def adjoint(y: np.ndarray) -> np.ndarray:
        patches = kernel.T @ torch.from_numpy(y.reshape(len(kernel), -1))
        return F.fold(patches[None], shape[1:], **options).numpy().ravel()

    linear = scipy.sparse.linalg.LinearOperator(
        (len(kernel) * out.numel(), math.prod(shape)), forward, adjoint, dtype=np.float64
    )
    start = np.random.default_rng(0).standard_normal(min(linear.shape))
    return float(scipy.sparse.linalg.svds(linear, k=1, v0=start, return_singular_vectors=False)[0])


def trained_like(layer: nn.Conv2d) -> None:
    """Kernels as training leaves them: a few channel modes times smooth filters, and noise."""
    rows, columns, height, width = layer.weight.shape
    grid = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    grid = grid.float() - (height - 1) / 2
    weight = 0.02 * torch.randn_like(layer.weight) / math.sqrt(columns * height * width)
    for rank in range(1, 9):
        wave = torch.randn(2)
        envelope = torch.exp(-grid.square().sum(0) / 4)
        smooth = torch.cos((wave[:, None, None] * grid).sum(0)) * envelope
        mode = torch.outer(torch.randn(rows), torch.randn(columns)) / math.sqrt(rows * columns)
        weight += mode[:, :, None, None] * smooth / rank
    layer.weight.data.copy_(weight)


LAYERS = {
    "alexnet conv1": (lambda: nn.Conv2d(3, 96, 5, padding=2), (3, 28, 28)),
    "resnet stride": (lambda: nn.Conv2d(16, 32, 3, 2, padding=1), (16, 28, 28)),
}


@pytest.mark.parametrize("trained", [False, True], ids=["random", "trained-like"])
@pytest.mark.parametrize("name", LAYERS)
def test_certificates_of_real_layers_contain_what_arpack_finds(name, trained):
    torch.manual_seed(0)
    build, shape = LAYERS[name]
    layer = build()
    if trained:
        trained_like(layer)
    found = operator_norm(layer, shape)
    assert 0 < found.upper / found.lower - 1 <= 1e-2
    truth = unfold_svd(layer, shape)
    assert found.lower <= truth <= found.upper


@pytest.mark.parametrize("trained", [False, True], ids=["random", "trained-like"])
@pytest.mark.parametrize("name", ["alexnet", "resnet", "inception"])
def test_every_layer_of_the_papers_nets_is_certified_within_one_percent(name, trained):
    torch.manual_seed(1)
    net = models.build(name, (3, 28, 28))
    for layer in net.modules():
        if trained and isinstance(layer, nn.Conv2d):
            trained_like(layer)
    table = spectrum(net, (3, 28, 28))
    assert len(table) == {"alexnet": 5, "resnet": 35, "inception": 20}[name]
    assert (table.lower > 0).all() and (table.upper >= table.lower).all()
    assert (table.upper / table.lower - 1).max() <= 1e-2 * (1 + 1e-6)


def test_lanczos_fails_no_more_often_than_it_says():
    """At a failure probability of 10 %, over 300 starts, on a matrix with a hard spectrum."""
    torch.manual_seed(0)
    layer = nn.Linear(60, 60, bias=False)
    values = torch.cat([torch.ones(1), torch.linspace(0.999, 0.5, 59)]).double()
    left, right = (torch.linalg.qr(torch.randn(60, 60).double()).Q for _ in range(2))
    layer.double().weight.data.copy_(left @ torch.diag(values) @ right)
    operator = Operator(layer, (60,))
    failures, widths = 0, []
    for seed in range(300):
        found = lanczos(
            operator, layer.weight.detach(), tolerance=3e-2, seed=seed, failure_probability=0.1
        )
        failures += found.upper < 1.0
        widths.append(found.upper / found.lower - 1)
    assert max(widths) > 1e-3  # stopped early enough for the probability to matter
    assert failures <= 45  # 30 expected at most; 45 is three standard deviations above


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: operator_norm(nn.Conv2d(1, 1, 3), (1, 2, 2)), r"in_shape is \(1, 2, 2\)"),
        (lambda: operator_norm(nn.Conv2d(2, 1, 3), (1, 5, 5)), r"in_shape is \(1, 5, 5\)"),
        (lambda: operator_norm(nn.Conv2d(1, 1, 3), (1, 0, 5)), r"in_shape is \(1, 0, 5\)"),
        (lambda: operator_norm(nn.Linear(2, 2), 2), "in_shape is 2"),
        (lambda: operator_norm(nn.Linear(2, 2), None), "in_shape is None"),
        (lambda: operator_norm(nn.Linear(2, 2), (2.5,)), r"in_shape is \(2.5,\)"),
        (lambda: operator_norm(nn.ReLU(), (1,)), "ReLU"),
        (lambda: operator_norm(nn.Linear(2, 2), (2,), certificate="svd"), "certificate is 'svd'"),
        (lambda: operator_norm(nn.Linear(2, 2), (2,), tolerance=0), "tolerance is 0"),
    ],
)
def test_mistakes_are_named_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_zero_and_nan_weights():
    layer = nn.Conv2d(1, 2, 3)
    nn.init.zeros_(layer.weight)
    assert operator_norm(layer, (1, 5, 5)) == (0.0, 0.0, "exact", 0.0)
    layer.weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(UserError, match="NaN"):
        operator_norm(layer, (1, 5, 5))


def test_patches_are_gathered_where_the_image_is():
    """Indices belong on its device; tensors that hold no numbers mind as those of a GPU do."""
    geometry = Geometry((Axis(6, 3, 3, 2, 1, 1, "zeros"),) * 2, groups=1)
    with FakeTensorMode():
        x, weight = torch.empty(2, 6, 6, device="cuda"), torch.empty(4, 2, 3, 3, device="cuda")
        found = geometry.apply(x, weight)
    assert found.shape == (4, 3, 3) and found.device.type == "cuda"
