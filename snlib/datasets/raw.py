"""Images as they are stored: integers, in official order, before any preprocessing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from snlib import errors


class Images(NamedTuple):
    """Pixels (N, C, H, W) in uint8 and labels (N,) in int64."""

    x: Tensor
    y: Tensor

    def take(self, index: object) -> Images:
        """The images named by a slice or an integer tensor."""
        return Images(self.x[index], self.y[index])


@dataclass(frozen=True, eq=False)
class Raw:
    """A data set as stored.

    Attributes:
        title: for people.
        classes: names of the K classes, by label.
        train, test: in official order where there is one, else in a fixed random order, so that
            the first n images are a fair sample.
        spare: official training images that the paper's protocol leaves unused.
        white: the pixel value that means 1.0.
        validation_size: how many images to hold out.
        part: whether the set is a part of the official one.
    """

    title: str
    classes: tuple[str, ...]
    train: Images
    test: Images
    validation_size: int
    spare: Images | None = None
    white: int = 255
    part: bool = False

    def check(self, name: str) -> Raw:
        """Return self if labels and shapes are sound.

        Raises:
            UserError: naming the data set and what is wrong.
        """
        for split, images in (("training", self.train), ("test", self.test)):
            low, high = int(images.y.min()), int(images.y.max())
            errors.require(
                low >= 0 and high < len(self.classes),
                f"{name} has {split} labels from {low} to {high}; with {len(self.classes)} classes "
                f"they must lie in 0 to {len(self.classes) - 1}. Load it anew.",
            )
            errors.require(
                len(images.x) == len(images.y),
                f"{name} has {len(images.x)} {split} images and {len(images.y)} labels; they must "
                "be as many. Load it anew.",
            )
        return self


def validation_size(test_images: int) -> int:
    """Images to hold out: the paper's 500, or a quarter of the test set where that is less."""
    return min(500, test_images // 4)
