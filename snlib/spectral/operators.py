"""A convolution or linear layer as a linear operator between its true input and output spaces.

The forward map is the layer's own `forward` without its bias, so every stride, padding mode,
dilation, number of groups, and every subclass that pads by itself (TensorFlow's asymmetric SAME)
is what the network really computes. The adjoint is exact: `convolution_backward` where the layer
is a plain zero-padded convolution, automatic differentiation of the layer's forward otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from snlib.errors import NotFinite, UserError, require
from snlib.spectral.entries import convolution_entries

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
SUPPORTED = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)


def plain_class(layer: nn.Module) -> type[nn.Module]:
    """The layer's class before any parametrization was put on it."""
    return parametrize.type_before_parametrizations(layer)


def is_plain(layer: nn.Module) -> bool:
    """Whether the layer is a convolution with torch's own forward, whatever its class is called."""
    forward = plain_class(layer).forward
    return any(forward is kind.forward for kind in (*CONVOLUTIONS, *TRANSPOSED))


def _bare(layer: nn.Module) -> nn.Module:
    """A twin of the layer that owns no parameters and no hooks; its weight is set by the caller.

    `copy.copy` refuses parametrized modules, so the twin is put together from the dictionary.
    """
    twin = object.__new__(plain_class(layer))
    twin.__dict__.update(layer.__dict__)
    twin.__dict__["_parameters"] = {}
    twin.__dict__["_buffers"] = dict(layer._buffers)
    twin.__dict__["_modules"] = {
        name: module for name, module in layer._modules.items() if name != "parametrizations"
    }
    for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
        twin.__dict__[hooks] = type(layer.__dict__[hooks])()
    twin.__dict__["bias"] = None
    return twin


class Operator:
    """x -> layer(x) - layer(0) on flattened vectors, with its adjoint and its weight gradient.

    Vectors are rows: `forward` takes (B, n) to (B, m), `adjoint` takes (B, m) to (B, n), where n
    and m are the numbers of entries of one input and of one output. The weight is an argument, so
    that the same operator serves raw, effective and double-precision weights.

    Raises:
        UserError: the layer is of a kind without a budget, or refuses `in_shape`.
    """

    def __init__(self, layer: nn.Module, in_shape: Sequence[int], name: str = "layer") -> None:
        kind = plain_class(layer).__name__
        require(
            isinstance(layer, SUPPORTED),
            f"{name} is a {kind}; allowed are Linear, Conv1d/2d/3d and ConvTranspose1d/2d/3d.",
        )
        self.name = name
        self.in_shape = check_shape(in_shape)
        self.bare = _bare(layer)
        self.groups = getattr(layer, "groups", 1)
        self.linear = isinstance(layer, nn.Linear)
        self.transposed = isinstance(layer, TRANSPOSED)
        # The options of aten::convolution, where that one function is the whole forward.
        self.options: tuple | None = None
        if is_plain(layer) and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
            self.options = (
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.transposed,
                layer.output_padding,
                layer.groups,
            )
        self.out_shape = self._dry_run(layer)
        self.inputs = math.prod(self.in_shape)
        self.outputs = math.prod(self.out_shape)
        unrolls = layer.weight.dim() == 4 and not self.transposed and self.groups == 1
        self.unrolls = unrolls and self.options is not None

    def _dry_run(self, layer: nn.Module) -> tuple[int, ...]:
        weight = layer.weight.detach()
        zeros = torch.zeros((1, *self.in_shape), dtype=weight.dtype, device=weight.device)
        try:
            out_shape = tuple(self._call(zeros, weight).shape[1:])
        except (RuntimeError, ValueError, IndexError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"in_shape is {self.in_shape}; {self.name} refuses it ({reason}); "
                "give the shape of one of its inputs, without the batch."
            ) from None
        require(
            math.prod(out_shape) > 0,
            f"in_shape is {self.in_shape}; the output of {self.name} would be empty "
            f"{out_shape}; give a larger input.",
        )
        return out_shape

    def _call(self, x: Tensor, weight: Tensor) -> Tensor:
        self.bare.__dict__["weight"] = weight
        try:
            return self.bare.forward(x)
        finally:
            del self.bare.__dict__["weight"]

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """(B, n) -> (B, m)."""
        x = x.view(-1, *self.in_shape)
        if self.options is not None:
            return torch.convolution(x, weight, None, *self.options).reshape(x.shape[0], -1)
        with torch.no_grad():
            return self._call(x, weight).reshape(x.shape[0], -1)

    def _backward(self, y: Tensor, x: Tensor, weight: Tensor, wrt_weight: bool) -> Tensor:
        y = y.view(-1, *self.out_shape)
        x = x.view(-1, *self.in_shape)
        if self.options is not None:
            wanted = [not wrt_weight, wrt_weight, False]
            return torch.ops.aten.convolution_backward(y, x, weight, None, *self.options, wanted)[
                int(wrt_weight)
            ]
        with torch.enable_grad():
            leaf = (weight if wrt_weight else x).detach().requires_grad_()
            out = self._call(x, leaf) if wrt_weight else self._call(leaf, weight)
            return torch.autograd.grad(out, leaf, y)[0]

    def adjoint(self, y: Tensor, weight: Tensor) -> Tensor:
        """(B, m) -> (B, n): the exact transpose, <A x, y> = <x, A^T y>."""
        # Only the shape of x matters for a linear map: one zero spread over the batch.
        x = y.new_zeros(1).expand(y.shape[0], self.inputs)
        return self._backward(y, x, weight, wrt_weight=False).reshape(y.shape[0], -1)

    def gradient(self, u: Tensor, v: Tensor, weight: Tensor) -> Tensor:
        """The gradient of <u, A v> in the weight, shaped like it: u (1, m), v (1, n).

        For unit singular vectors this is d sigma / d W, since sigma = <u, A v> is linear in W.
        """
        if not self.unrolls:
            return self._backward(u, v, weight, wrt_weight=True)
        # One product of the output with the patches of the input, for one image a third of the time
        stride, padding, dilation, *_ = self.options
        image = v.view(1, *self.in_shape)
        patches = F.unfold(image, weight.shape[2:], dilation, padding, stride)[0]
        return (u.view(weight.shape[0], -1) @ patches.T).view(weight.shape)

    def matrix(self, weight: Tensor) -> Tensor:
        """The operator as a matrix (m, n), for layers small enough to have one."""
        if self.options is None:  # a padding that is not by zeros may sum entries of the weight
            eye = torch.eye(self.inputs, dtype=weight.dtype, device=weight.device)
            return self.forward(eye, weight).T
        return convolution_entries(self.in_shape, weight.shape, self.options).matrix(weight)


class ReshapedKernel:
    """The kernel as a matrix of out_channels rows: Miyato et al. (2018), and every Linear layer.

    Same face as `Operator`; `in_shape` is not looked at, which is what is wrong with this norm.
    """

    linear = True
    options = None

    def __init__(self, layer: nn.Module, in_shape: Sequence[int], name: str = "layer") -> None:
        del in_shape
        self.name = name
        self.transposed = isinstance(layer, TRANSPOSED)
        self.outputs, self.inputs = self.matrix(layer.weight.detach()).shape

    def matrix(self, weight: Tensor) -> Tensor:
        """(out_channels, everything else); transposed convolutions keep theirs in dimension 1."""
        if self.transposed:
            weight = weight.transpose(0, 1)
        return weight.reshape(weight.shape[0], -1)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """(B, n) -> (B, m)."""
        return x @ self.matrix(weight).T

    def adjoint(self, y: Tensor, weight: Tensor) -> Tensor:
        """(B, m) -> (B, n)."""
        return y @ self.matrix(weight)


def layers(net: nn.Module, in_shape: Sequence[int]) -> list[tuple[str, nn.Module, tuple[int, ...]]]:
    """Every convolution and linear layer with the shape of the input it sees, in forward order.

    One forward pass of zeros in evaluation mode; modes, buffers and random state are as before.

    Args:
        net: a network that takes (N, *in_shape).
        in_shape: the shape of one input, without the batch, e.g. (C, H, W).

    Raises:
        UserError: the network refuses `in_shape`, or a layer sees inputs of two shapes.
    """
    require(
        isinstance(net, nn.Module), f"net is a {type(net).__name__}; it must be a torch.nn.Module."
    )
    in_shape = check_shape(in_shape)
    found: dict[nn.Module, tuple[int, ...]] = {}
    clash: list[str] = []
    names = {module: name for name, module in net.named_modules() if isinstance(module, SUPPORTED)}
    require(bool(names), "net has no convolution and no linear layer; there is nothing to bound.")

    def note(module: nn.Module, args: tuple, _out: object) -> None:
        shape = tuple(args[0].shape[1:])
        if found.setdefault(module, shape) != shape:
            clash.append(
                f"{names[module]} sees inputs of {found[module]} and of {shape}; "
                "an operator norm needs one shape; give each use its own layer."
            )

    modes = {module: module.training for module in net.modules()}
    hooks = [module.register_forward_hook(note) for module in names]
    parameter = next(net.parameters())
    zeros = torch.zeros((1, *in_shape), dtype=parameter.dtype, device=parameter.device)
    devices = [parameter.device] if parameter.is_cuda else []
    try:
        net.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            net(zeros)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"in_shape is {tuple(in_shape)}; {type(net).__name__} refuses it ({reason}); "
            "give the shape of one input, without the batch."
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    require(not clash, clash[0] if clash else "")
    return [(names[module], module, shape) for module, shape in found.items()]


def check_shape(in_shape: Sequence[int]) -> tuple[int, ...]:
    """Refuse anything but positive sizes as the shape of one input."""
    sizes = tuple(in_shape) if isinstance(in_shape, tuple | list | torch.Size) else ()
    require(
        len(sizes) > 0 and all(isinstance(size, Integral) and size > 0 for size in sizes),
        f"in_shape is {in_shape!r}; it must hold the positive sizes of one input.",
    )
    return tuple(int(size) for size in sizes)


def check_finite(numbers: Tensor, name: str) -> None:
    """Refuse a weight, or what was computed from it, with a NaN or an infinity in it."""
    # In their sum, which one pass finds, such a number shows; in float64 no others make one.
    if not math.isfinite(float(numbers.sum(dtype=torch.float64))):
        raise NotFinite(
            f"the weight of {name} holds NaN or inf; its norm is undefined; "
            "lower the learning rate or load an earlier checkpoint."
        )


def dense_matrix(layer: nn.Module, in_shape: Sequence[int]) -> Tensor:
    """The layer as a matrix (out, in) in float64, by pushing the identity through its forward."""
    operator = Operator(layer, in_shape)
    weight = layer.weight.detach().double()
    size = operator.inputs
    chunk = max(1, min(size, 2**22 // max(operator.inputs, operator.outputs)))
    starts = [*range(0, size, chunk), size]
    columns = []
    for start, stop in pairwise(starts):
        basis = torch.zeros(stop - start, size, dtype=torch.float64, device=weight.device)
        basis[torch.arange(stop - start), torch.arange(start, stop)] = 1.0
        columns.append(operator.forward(basis, weight))
    return torch.cat(columns).T.contiguous()
