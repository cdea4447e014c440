"""Lipschitz constants of networks in l2: an upper bound with every factor shown, a lower beside it.

The bound follows the network's own graph (torch.fx), so it holds for chains, residual nets and nets
that concatenate: layers multiply, sums add, concatenations have the root of the sum of squares.
With all sigma <= 1 a residual block may still double, and 3x3/2 max-pooling as well, so the product
P of the layers' norms is in general no Lipschitz constant.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from torch import Tensor, fx, nn

from snlib import errors, spectral
from snlib.bounds.factors import module_factor
from snlib.bounds.margins import check_batch, evaluating
from snlib.bounds.operations import RESHAPES, operation

WEIGHTED = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
LOG10 = math.log(10)


@dataclass(frozen=True, eq=False)
class Lipschitz:
    """An upper bound on the l2-Lipschitz constant of x -> logits.

    Attributes:
        log10_upper: of the bound.
        log10_product: of P, the product of the norms of all weight layers, for comparison.
        factors: DataFrame, one row an operation: layer, kind, in_shape, out_shape, factor (NaN for
            a sum or a concatenation), log10_total (from the input up to here), method.
    """

    log10_upper: float
    log10_product: float
    factors: pd.DataFrame = field(repr=False)

    @property
    def upper(self) -> float:
        """The bound itself; inf where it passes the range of a float."""
        return 10.0**self.log10_upper if self.log10_upper < 308 else math.inf


class _Tracer(fx.Tracer):
    """Stops at every module without children and at those whose factor is known as a whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, (*WEIGHTED, nn.LocalResponseNorm)) or hasattr(m, "lipschitz"):
            return True
        known = type(m).__module__.startswith("torch.nn") or hasattr(m, "drop")
        return known and not set(m._modules) - {"parametrizations"}


class _Walk(fx.Interpreter):
    """Runs the graph on one input of zeros and carries the constant of every value along."""

    def __init__(
        self, net: nn.Module, graph: fx.Graph, norms: dict[str, tuple[float, str]], seed: int
    ) -> None:
        super().__init__(fx.GraphModule(net, graph), garbage_collect_values=False)
        self.extra_traceback = False  # errors stay one line
        self.norms, self.seed = norms, seed
        self.logs: dict[fx.Node, float] = {}
        self.rows: list[dict[str, object]] = []
        self.log_product = 0.0

    def run_node(self, n: fx.Node) -> Any:
        out = super().run_node(n)
        if n.op == "placeholder":
            self.logs[n] = 0.0
        elif n.op in ("call_module", "call_function", "call_method") and _is_tensor(out):
            self._follow(n, out)
        return out

    def _follow(self, node: fx.Node, out: Any) -> None:
        moving = [source for source in node.all_input_nodes if source in self.logs]
        if not moving:
            return
        if node.op == "call_module":
            known = self._module(node, self.env[moving[0]], self.logs[moving[0]], out)
            name = str(node.target)
        else:
            name = str(getattr(node.target, "__name__", node.target))
            args = fx.node.map_arg(node.args, lambda source: self.env[source])
            kwargs = fx.node.map_arg(node.kwargs, lambda source: self.env[source])
            logs: dict[int, float] = {}
            for source in moving:  # an in-place operation leaves two nodes with one tensor
                value = self.env[source]
                for part in value if isinstance(value, tuple | list) else (value,):
                    logs[id(part)] = max(self.logs[source], logs.get(id(part), -math.inf))
            known = operation(name, args, kwargs, logs, out)
        errors.require(
            known is not None,
            f"the Lipschitz factor of {name} ({node.op.replace('call_', '')}) is not known; "
            "give the module an attribute `lipschitz`, a number, or write it with known layers.",
        )
        log, kind, method = known
        before = self.logs[moving[0]]
        self.logs[node] = log
        if kind in RESHAPES or kind == "getitem":
            return
        joins = len(moving) > 1
        self.rows.append(
            {
                "layer": name if node.op == "call_module" else node.name,
                "kind": kind,
                "in_shape": tuple(_first(self.env[moving[0]]).shape[1:]),
                "out_shape": tuple(_first(out).shape[1:]),
                "factor": math.nan if joins else math.exp(log - before),
                "log10_total": log / LOG10,
                "method": method,
            }
        )

    def _module(
        self, node: fx.Node, x: Tensor, log: float, out: Tensor
    ) -> tuple[float, str, str] | None:
        module = self.fetch_attr(str(node.target))
        kind = nn.utils.parametrize.type_before_parametrizations(module).__name__
        if isinstance(module, WEIGHTED):
            name = str(node.target)
            if name not in self.norms:
                norm = spectral.operator_norm(module, tuple(x.shape[1:]), seed=self.seed)
                self.norms[name] = (norm.upper, norm.method)
            upper, method = self.norms[name]
            log_factor = math.log(upper) if upper > 0 else -math.inf
            self.log_product += log_factor
            return log + log_factor, kind, method
        known = module_factor(module, x, out)
        if known is None:
            return None
        return log + (math.log(known[0]) if known[0] > 0 else -math.inf), kind, known[1]


def _first(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else value[0]


def _is_tensor(value: Any) -> bool:
    """A tensor, or the several that chunk and split give; sizes are tuples too, of numbers."""
    if isinstance(value, tuple | list):
        return len(value) > 0 and all(isinstance(part, Tensor) for part in value)
    return isinstance(value, Tensor)


def lipschitz(
    net: nn.Module,
    in_shape: Sequence[int],
    *,
    spectrum: pd.DataFrame | None = None,
    seed: int = 0,
) -> Lipschitz:
    """Upper bound on the l2-Lipschitz constant of a network in evaluation mode.

    Linear layers and convolutions count with the upper end of their certified interval (Lanczos
    certificates hold but for a probability of about 1e-6 each: see `method`), pooling, padding and
    batch norm with their exact factor, activations with their largest slope, local response
    normalization with a bound derived in `snlib.bounds.factors`. Biases do not matter.

    Args:
        net: its forward must be traceable by torch.fx (no control flow that depends on values).
            A module that states its constant in an attribute `lipschitz` is taken at its word.
        in_shape: of one input, e.g. (3, 28, 28).
        spectrum: a table of `spectral.spectrum(net, in_shape)`, to save the norms' computation.
        seed: of the Lanczos certificates.

    Raises:
        UserError: an input shape that does not fit, or an operation whose factor is not known,
            named.
    """
    norms: dict[str, tuple[float, str]] = {}
    if spectrum is not None:
        rows = zip(spectrum["layer"], spectrum["upper"], spectrum["method"], strict=True)
        norms = {str(name): (float(upper), str(method)) for name, upper, method in rows}
    twin = copy.deepcopy(net).eval()  # modules that count their calls count the twin's
    spectral.layers(twin, in_shape)  # refuses a shape that does not fit, in one line
    parameter = next(twin.parameters())
    zeros = torch.zeros((1, *in_shape), dtype=parameter.dtype, device=parameter.device)
    if isinstance(twin, WEIGHTED) or not twin._modules:
        twin = nn.Sequential(twin)
        norms = {f"0{'.' if name else ''}{name}": value for name, value in norms.items()}
    try:
        graph = _Tracer().trace(twin)
    except (fx.proxy.TraceError, TypeError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise errors.UserError(
            f"net is a {type(net).__name__} that torch.fx cannot trace ({reason}); write its "
            "forward without control flow that depends on values."
        ) from None
    walk = _Walk(twin, graph, norms, seed)
    with torch.no_grad():
        walk.run(zeros)
    result = next(node for node in graph.nodes if node.op == "output").args[0]
    errors.require(
        isinstance(result, fx.Node) and result in walk.logs,
        "net does not return one tensor that depends on its input; return the logits (N, K).",
    )
    return Lipschitz(walk.logs[result] / LOG10, walk.log_product / LOG10, pd.DataFrame(walk.rows))


def local_lipschitz(net: nn.Module, x: Tensor, *, batch_size: int = 100) -> pd.DataFrame:
    """Local constants at given points: every one is a lower bound on the global constant.

    Args:
        net: gives logits (N, K); used in evaluation mode, K backward passes for each batch.
        x: (N, ...) inputs.
        batch_size: inputs in one pass.

    Returns:
        DataFrame, one row an input: jacobian (largest singular value of d logits / d x),
        difference (largest ||grad (f_i - f_j)||_2 over pairs of logits; at most sqrt(2) times the
        Lipschitz constant). The sampled lower bound is `table["jacobian"].max()`.

    Raises:
        UserError: x without a batch dimension, logits not (N, K).
    """
    check_batch(x, batch_size)
    pieces = []
    with evaluating(net), torch.enable_grad(), errors.fitting(net, x.shape, x.dtype):
        for part in x.detach().split(batch_size):
            leaf = part.clone().requires_grad_()
            logits = net(leaf)
            errors.require(
                logits.dim() == 2 and len(logits) == len(part),
                f"logits have shape {tuple(logits.shape)}; they must be ({len(part)}, K).",
            )
            rows = [
                torch.autograd.grad(logit.sum(), leaf, retain_graph=True)[0].flatten(1)
                for logit in logits.unbind(dim=1)
            ]
            jacobian = torch.stack(rows, dim=1).double()
            gram = jacobian @ jacobian.transpose(1, 2)
            largest = torch.linalg.eigvalsh(gram)[:, -1].clamp_min(0).sqrt()
            square = gram.diagonal(dim1=1, dim2=2)
            distance = square[:, :, None] + square[:, None, :] - 2 * gram
            difference = distance.flatten(1).amax(dim=1).clamp_min(0).sqrt()
            pieces.append(torch.stack([largest, difference], dim=1).cpu())
    return pd.DataFrame(torch.cat(pieces).numpy(), columns=["jacobian", "difference"])
