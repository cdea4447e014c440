"""What a data set is to the rest of the workbook: preprocessed tensors and how to undo it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snlib import errors

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, preprocessed and split.

    Attributes:
        name: as `load` knows it.
        title: for people and figures; says where the images are not the complete official ones.
        classes: their number K.
        class_names: their K names, by label.
        x_train, x_validation, x_test: images (N, C, H, W), float32, or float64 after `double`.
        y_train, y_validation, y_test: labels (N,), int64 in 0..K-1.
        mean_norm: mean l2 norm of the images of `x_train`, in their own units; the paper's C2.
        mean, scale: for each split the mean and standard deviation (N,) that whitening subtracted
            from and divided into each image's pixels in [0, 1]; None where pixels are left raw.
        mirror: whether a mirror image shows the same class, so that augmentation may flip.
    """

    name: str
    title: str
    classes: int
    class_names: tuple[str, ...]
    x_train: Tensor
    y_train: Tensor
    x_validation: Tensor
    y_validation: Tensor
    x_test: Tensor
    y_test: Tensor
    mean_norm: float
    mean: dict[str, Tensor] | None = None
    scale: dict[str, Tensor] | None = None
    mirror: bool = True

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return tuple(self.x_train.shape[1:])

    def double(self) -> Data:
        """The same images in float64, and so the nets that `snlib.fit` trains on them.

        Processors round differently, and training magnifies that: in float32 two of them may
        disagree about some test images, in float64 about none for as long as training is short.
        What a notebook prints of a net that it trains must not depend on who reads it.
        """
        images = {f"x_{split}": getattr(self, f"x_{split}").double() for split in SPLITS}
        whitening = {
            name: part and {split: values.double() for split, values in part.items()}
            for name, part in (("mean", self.mean), ("scale", self.scale))
        }
        return replace(self, **images, **whitening)

    def pixel_box(self, split: str = "test") -> tuple[Tensor, Tensor]:
        """Lowest and highest value that a pixel of each image can take, each (N, 1, 1, 1).

        Whitening maps the pixel range [0, 1] to another interval for every image.
        """
        mean, scale = self._whitening(split)
        return (0 - mean) / scale, (1 - mean) / scale

    def to_pixels(self, x: Tensor, split: str = "test", index: object = None) -> Tensor:
        """Bring images (n, C, H, W) back to pixel units, where 0 is black and 1 is white.

        Args:
            x: images of a split, perturbed or not.
            split: "train", "validation" or "test".
            index: which images of the split x are (a slice, mask or integer tensor); None for all.
        """
        mean, scale = (part if index is None else part[index] for part in self._whitening(split))
        errors.require(
            len(mean) == len(x),
            f"x holds {len(x)} images and index names {len(mean)} of the {split} images; "
            "pass the index that x was taken with.",
        )
        return x * scale.to(x) + mean.to(x)

    def _whitening(self, split: str) -> tuple[Tensor, Tensor]:
        """Mean and scale of each image of a split, (N, 1, 1, 1); 0 and 1 for raw pixels."""
        errors.one_of("split", split, SPLITS)
        if self.mean is None or self.scale is None:
            count = len(getattr(self, f"y_{split}"))
            return torch.zeros(count, 1, 1, 1), torch.ones(count, 1, 1, 1)
        return self.mean[split].view(-1, 1, 1, 1), self.scale[split].view(-1, 1, 1, 1)
