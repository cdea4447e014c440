"""What of the paper each experiment stands for: every figure and table, and where it is shown."""

from __future__ import annotations

from dataclasses import dataclass

TABLES = ("table1_cifar10", "table1_mnist", "table1_svhn", "table1_digits")


@dataclass(frozen=True)
class Item:
    """A figure or table of the paper.

    Attributes:
        name: ours for a figure, since no number of a figure is certain; the paper's of a table.
        shows: what it shows.
        notebook: the first two digits of the notebook that shows it.
        experiments: whose tables hold it.
    """

    name: str
    shows: str
    notebook: str
    experiments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.shows}"


ITEMS = (
    Item("F-train", "training curves of AlexNet", "05", ("curves",)),
    Item("F-elu", "training curves of ELU-AlexNet", "05", ("curves_elu",)),
    Item(
        "F-inc-res", "training curves of Inception and ResNet", "05", ("curves_inception_resnet",)
    ),
    Item("F-linf", "training curves under linf attacks", "05", ("curves_linf",)),
    Item("F-gain", "densities of the norm gain", "03", ("gain",)),
    Item("F-kappa", "densities of input-gradient norms", "03", ("gain",)),
    Item("F-margins", "margins, raw and normalized", "06", ("margins",)),
    Item("F-rand", "training accuracy on random labels", "08", ("random_labels",)),
    Item("F-adv", "error against eps", "09", ("robustness",)),
    Item("F-scatter", "gain of every row of Table 1", "10", TABLES),
    Item("Table 1", "accuracies of 42 configurations, and of the 20 left out", "10", TABLES),
    Item("Table 2", "run times with and without SN", "11", ("runtimes",)),
    Item("Appendix", "Miyato's norm, weight decay, dropout, batch norm", "11", ("rivals",)),
)
"""In the order of the facts' section 3."""


def stands_for(experiment: str) -> tuple[Item, ...]:
    """The figures and tables that an experiment holds; none if it is this workbook's own."""
    return tuple(item for item in ITEMS if experiment in item.experiments)
