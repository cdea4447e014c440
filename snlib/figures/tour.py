"""The two figures of the tour: one scheme of the headline, and images under attack; notebook 00."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from snlib import statistics
from snlib.errors import one_of, require
from snlib.figures import gap, style


def one_scheme(table: pd.DataFrame, scheme: str = "pgm", *, paper: bool = True) -> Figure:
    """The headline of one training scheme: its gap over beta, and the two accuracies behind it.

    Args:
        table: of the experiment `gap`.
        scheme: "erm", "fgm", "pgm" or "wrm".
        paper: whether to draw the published values beside, hollow.
    """
    runs = statistics.accuracies(table)
    one_of("scheme", scheme, set(runs["scheme"]))
    runs = runs[runs["scheme"] == scheme]
    budgets = statistics.chosen(runs)
    figure, array = style.axes(1, 2, (8.4, 3.6))
    gap.draw_gap(array[0, 0], runs, scheme, budgets, paper=paper)
    gap.draw_accuracies(array[0, 1], runs, scheme, budgets, paper=paper)
    name = style.SCHEMES[scheme]
    array[0, 0].set_title(f"{name} training: the gap", fontsize=10)
    array[0, 1].set_title(f"{name} training: the accuracies behind it", fontsize=10)
    array[0, 0].set_ylabel("generalization gap (points)")
    array[0, 1].set_ylabel("accuracy under the\ntraining attack (%)")
    array[0, 0].set_ylim(bottom=min(0, array[0, 0].get_ylim()[0]))
    array[0, 1].set_ylim(0, 104)
    gap.legend(figure, paper=paper, columns=3)
    return style.laid_out(figure)


def attacked(
    clean: np.ndarray, adversarial: np.ndarray, before: Sequence[int], after: Sequence[int]
) -> Figure:
    """Images, what the attack adds, and their sum, each with the class that the net gives it.

    Args:
        clean: (N, H, W) images; N at most about 8.
        adversarial: (N, H, W), the same after the attack.
        before, after: (N,) predicted classes of both.

    Raises:
        UserError: if the shapes differ.
    """
    clean, adversarial = np.asarray(clean), np.asarray(adversarial)
    require(
        clean.shape == adversarial.shape and clean.ndim == 3,
        f"clean has shape {clean.shape}, adversarial {adversarial.shape}; "
        "both must be (N, H, W), such as x[:6, 0].",
    )
    require(
        len(before) == len(after) == len(clean),
        f"before has {len(before)} classes, after {len(after)}; give one of each image "
        f"({len(clean)}).",
    )
    figure, array = style.axes(3, len(clean), (1.05 * len(clean) + 0.6, 3.7))
    change = adversarial - clean
    low, high = clean.min(), clean.max()
    largest = float(np.abs(change).max()) or 1.0
    for column in range(len(clean)):
        top, middle, bottom = array[:, column]
        top.imshow(clean[column], cmap="gray_r", vmin=low, vmax=high)
        middle.imshow(change[column], cmap="RdBu_r", vmin=-largest, vmax=largest)
        bottom.imshow(adversarial[column], cmap="gray_r", vmin=low, vmax=high)
        top.set_title(f"“{before[column]}”", fontsize=10)
        fooled = before[column] != after[column]
        color = style.FREE if fooled else "black"
        bottom.set_title(f"“{after[column]}”", fontsize=10, color=color)
        for ax in (top, middle, bottom):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
    for ax, words in zip(array[:, 0], ("image", "attack", "attacked"), strict=True):
        ax.set_ylabel(words)
    return style.laid_out(figure)
