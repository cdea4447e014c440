"""Margins, capacities of Theorems 1-4 and their successors, kappa, Lipschitz constants."""

from snlib.bounds.capacities import FORMS, THEOREMS, Capacity, capacity
from snlib.bounds.generalization import Generalization, generalization
from snlib.bounds.lipschitz import Lipschitz, lipschitz, local_lipschitz
from snlib.bounds.looseness import looseness, measures
from snlib.bounds.margins import kappa, margins, margins_of_logits, normalized_margins, risk
from snlib.bounds.norms import layer_norms
from snlib.bounds.published import PUBLISHED, published_frobenius, published_normalization
from snlib.bounds.recorded import normalizations

__all__ = [
    "FORMS",
    "PUBLISHED",
    "THEOREMS",
    "Capacity",
    "Generalization",
    "Lipschitz",
    "capacity",
    "generalization",
    "kappa",
    "layer_norms",
    "lipschitz",
    "local_lipschitz",
    "looseness",
    "margins",
    "margins_of_logits",
    "measures",
    "normalizations",
    "normalized_margins",
    "published_frobenius",
    "published_normalization",
    "risk",
]
