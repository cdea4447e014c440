"""Gradient attacks on a classifier: FGM, PGM, WRM and TRADES, in the norms 2, inf and 1.

`eps` is in units of the net's input (after whitening an image-dependent multiple of pixels: see
`pixel_eps`). Every attack leaves the net, its gradients and the random state as it found them.
"""

from snlib.attacks.divergence import trades_attack
from snlib.attacks.path import Clip, Info
from snlib.attacks.penalty import wrm
from snlib.attacks.pixels import pixel_box, pixel_eps
from snlib.attacks.projected import fgm, pgm
from snlib.attacks.specification import KINDS, Attack
from snlib.attacks.square import autoattack, square
from snlib.attacks.state import Net, untouched

__all__ = [
    "KINDS", "Attack", "Clip", "Info", "Net", "autoattack", "fgm", "pgm", "pixel_box", "pixel_eps",
    "square", "trades_attack", "untouched", "wrm",
]  # fmt: skip
