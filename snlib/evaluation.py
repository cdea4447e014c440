"""Accuracy of a net, clean and under attack."""

from __future__ import annotations

import torch
from torch import Tensor

from snlib.attacks import Attack, Net, untouched


def accuracy(
    net: Net,
    x: Tensor,
    y: Tensor,
    attack: Attack | None = None,
    *,
    batch_size: int = 500,
    generator: torch.Generator | None = None,
) -> float:
    """Share of samples classified as y, in [0, 1], after `attack` if one is given.

    The net is scored in evaluation mode and left as found. The attack's own precision does not
    matter for the score, which runs in the precision of x.

    Args:
        net: module or function from (N, ...) to (N, K) logits.
        x: (N, ...) inputs.
        y: (N,) int64 true labels.
        attack: settings, or None for the clean accuracy.
        batch_size: samples at a time.
        generator: for attacks with a random start.
    """
    correct = 0
    with untouched(net, x.device):
        for some_x, some_y in zip(x.split(batch_size), y.split(batch_size), strict=True):
            if attack is not None:
                some_x = attack(net, some_x, some_y, generator)
            with torch.no_grad():
                correct += int((net(some_x).argmax(1) == some_y).sum())
    return correct / max(len(x), 1)
