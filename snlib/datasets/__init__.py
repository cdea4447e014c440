"""Data sets with the paper's preprocessing and splits.

    data = load("digits", train_size=300)

Digits come with scikit-learn and need no network. MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100 and
SVHN are read by torchvision and downloaded if absent. Every folder <root>/<name>/{train,test}/
<class>/ of images is a data set too.

Colour images are scaled to [0, 1], whitened one by one and then cropped by a sixteenth on each
side (32x32 to 28x28, 64x64 to 56x56); grey images stay raw in [0, 1] and are not cropped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from snlib import errors
from snlib.datasets import folders, official
from snlib.datasets.data import Data
from snlib.datasets.preprocessing import mean_norm, preprocess
from snlib.datasets.raw import Images, Raw

__all__ = ["Data", "default_root", "load", "names"]

LABEL_SEED = 100  # of the random labels, as in the authors' code
SPLIT_SEED = 50_000  # of validation="train"
HANDED = ("digits", "mnist", "svhn")  # a digit's mirror image is no digit, or another one


def default_root() -> Path:
    """The repository's folder `data`."""
    return Path(__file__).resolve().parents[2] / "data"


def names(root: str | Path | None = None) -> list[str]:
    """Names that `load` takes: the built-in ones and the image folders found in `root`."""
    found = folders.found(_root(root))
    return [*official.NAMES, *(name for name in found if name not in official.NAMES)]


def load(
    name: str,
    *,
    root: str | Path | None = None,
    train_size: int | None = None,
    labels: str = "true",
    validation: str = "test",
    seed: int = 0,
    download: bool = True,
) -> Data:
    """Load a data set: preprocessed, split, on the CPU.

    Training images are all official ones, save for MNIST: the last 55,000 of 60,000, as
    TensorFlow's `read_data_sets` had it. Digits: 797 to train, 300 to validate, 700 to test.

    Args:
        name: "digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "svhn" or the name of an
            image folder in `root`.
        root: folder that holds the data; the repository's `data` if None.
        train_size: how many training images to keep, drawn without regard to class; all if None.
            Of two sizes under one seed, the smaller set lies in the larger.
        labels: "true", or "random": every training image gets one of the K labels, drawn uniformly
            with a fixed seed and kept, so 1/K of them stay right. The authors' draw is made the
            same way but not the same draw, for their order of images is unknown; and here
            validation and test labels stay true. An image keeps its random label whatever
            `train_size` is.
        validation: "test": the first 500 test images in official order (a quarter of a test set
            below 2,000), the rest is the test set; this is the paper's split, and selecting on it
            flatters the test set. "train": as many images from outside the test set instead: of
            MNIST from the 5,000 unused ones, else a fixed random part of the training images.
        seed: of the choice of `train_size` images.
        download: whether to download a built-in set that is absent.

    Returns:
        The data. `mean_norm` is that of the training images returned.

    Raises:
        UserError: unknown name or option; data absent and not to be had; damaged files.
    """
    folder = _root(root)
    errors.one_of("labels", labels, ("true", "random"))
    errors.one_of("validation", validation, ("test", "train"))
    errors.require(
        isinstance(seed, int) and 0 <= seed < 2**32,
        f"seed is {seed!r}; it must be an integer from 0 to 2**32 - 1.",
    )
    raw = _read(name, folder, download).check(name)
    train, held_out, test = _split(raw, validation)
    if labels == "random":
        draw = np.random.RandomState(LABEL_SEED).randint(0, len(raw.classes), len(train.y))
        train = Images(train.x, torch.from_numpy(draw.astype(np.int64)))
    available = len(train.y)
    if train_size is not None:
        train = train.take(_subset(train_size, available, seed))
    images = {"train": train, "validation": held_out, "test": test}
    ready = {split: preprocess(part.x, raw.white) for split, part in images.items()}
    whitened = ready["train"].mean is not None
    return Data(
        name=name,
        title=raw.title
        + (f", {len(train.y):,} training images" if raw.part or len(train.y) < available else "")
        + (", random labels" if labels == "random" else ""),
        classes=len(raw.classes),
        class_names=raw.classes,
        **{f"x_{split}": part.x for split, part in ready.items()},
        **{f"y_{split}": part.y for split, part in images.items()},
        mean_norm=mean_norm(ready["train"].x),
        mean={split: part.mean for split, part in ready.items()} if whitened else None,
        scale={split: part.scale for split, part in ready.items()} if whitened else None,
        mirror=name not in HANDED,
    )


def _root(root: str | Path | None) -> Path:
    return default_root() if root is None else Path(root).expanduser()


def _read(name: str, root: Path, download: bool) -> Raw:
    """The images as stored.

    Raises:
        UserError: if `name` is neither built in nor a folder in `root`.
    """
    if name in official.NAMES:
        return official.read(name, root, download)
    known = names(root)
    if name in known:
        return folders.read(name, root)
    place = f"{root}/<name>/{{train,test}}/<class>/"
    errors.require(
        name not in folders.TITLES,
        f"{folders.TITLES.get(name)} is not in {root}; its images belong in "
        f"{place.replace('<name>', str(name))}, see data/README.md.",
    )
    try:
        errors.one_of("data", name, known)
    except errors.UserError as error:
        raise errors.UserError(f"{error} Image folders are looked for as {place}.") from None
    raise AssertionError  # one_of refused the name


def _split(raw: Raw, validation: str) -> tuple[Images, Images, Images]:
    """Training, validation and test images."""
    size = raw.validation_size
    if validation == "test":
        return raw.train, raw.test.take(slice(size)), raw.test.take(slice(size, None))
    if raw.spare is not None:
        return raw.train, raw.spare.take(slice(size)), raw.test
    errors.require(
        size < len(raw.train.y),
        f"validation is 'train', but there are {len(raw.train.y)} training images and "
        f"{size} would be held out; use validation='test'.",
    )
    order = torch.from_numpy(np.random.RandomState(SPLIT_SEED).permutation(len(raw.train.y)))
    return raw.train.take(order[size:].sort().values), raw.train.take(order[:size]), raw.test


def _subset(train_size: int, available: int, seed: int) -> torch.Tensor:
    """Which training images to keep."""
    errors.require(
        isinstance(train_size, int) and 1 <= train_size <= available,
        f"train_size is {train_size!r}; it must be an integer from 1 to {available}.",
    )
    return torch.from_numpy(np.random.RandomState(seed).permutation(available)[:train_size])
