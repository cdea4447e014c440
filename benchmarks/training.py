"""Images without a download and a short training on them, for benchmarks that need trained nets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snlib import datasets
from snlib.spectral import refresh

SHAPE = (3, 28, 28)


def images(name: str, root: str | None) -> dict[str, tuple[Tensor, Tensor]]:
    """(x, y) of the splits train and test, x (N, 3, 28, 28); the digits are enlarged to that."""
    data = datasets.load(name, root=root)

    def shaped(x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) == SHAPE:
            return x
        larger = F.interpolate(x, SHAPE[1:], mode="bilinear")
        return larger.expand(-1, *SHAPE).contiguous()

    return {
        "train": (shaped(data.x_train), data.y_train),
        "test": (shaped(data.x_test), data.y_test),
    }


def train(
    net: nn.Module, x: Tensor, y: Tensor, steps: int, *, batch: int = 32, seed: int = 0
) -> float:
    """Adam at 1e-3; the mean loss of the last ten steps."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(steps):
        chosen = torch.randint(len(x), (batch,), generator=generator)
        loss = F.cross_entropy(net(x[chosen]), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        refresh(net)
        losses.append(float(loss.detach()))
    return sum(losses[-10:]) / len(losses[-10:])
