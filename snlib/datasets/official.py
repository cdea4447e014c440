"""Scikit-learn's digits and the sets that torchvision knows how to download."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snlib.datasets.raw import Images, Raw, validation_size
from snlib.errors import UserError

NETWORK_TIMEOUT = 20.0  # seconds without an answer

Arrays = tuple[object, object, object]  # pixels, labels, names of the classes


def _torchvision(kind: str) -> Callable:
    """A data set's class there."""
    from torchvision import datasets  # takes as long to import as torch, and digits do without

    return getattr(datasets, kind)


def _grey(kind: str, root: Path, train: bool, download: bool) -> Arrays:
    found = _torchvision(kind)(root, train=train, download=download)
    return found.data.unsqueeze(1), found.targets, found.classes


def _cifar(kind: str, root: Path, train: bool, download: bool) -> Arrays:
    found = _torchvision(kind)(root, train=train, download=download)
    return found.data.transpose(0, 3, 1, 2), found.targets, found.classes


def _svhn(kind: str, root: Path, train: bool, download: bool) -> Arrays:
    split = "train" if train else "test"
    found = _torchvision(kind)(root, split=split, download=download)
    return found.data, found.labels, [str(digit) for digit in range(10)]


@dataclass(frozen=True)
class _Source:
    """A set of torchvision: its class there, its reader, where its files lie, official sizes."""

    title: str
    kind: str
    read: Callable[[str, Path, bool, bool], Arrays]
    folder: str  # that torchvision is given, below the root
    marker: str  # that exists below the folder once something was downloaded
    train_images: int


_SOURCES = {
    "mnist": _Source("MNIST", "MNIST", _grey, "", "MNIST/raw", 60_000),
    "fashion_mnist": _Source(
        "Fashion-MNIST", "FashionMNIST", _grey, "", "FashionMNIST/raw", 60_000
    ),
    "cifar10": _Source("CIFAR-10", "CIFAR10", _cifar, "", "cifar-10-batches-py", 50_000),
    "cifar100": _Source("CIFAR-100", "CIFAR100", _cifar, "", "cifar-100-python", 50_000),
    "svhn": _Source("SVHN", "SVHN", _svhn, "svhn", "train_32x32.mat", 73_257),
}

NAMES = ("digits", *_SOURCES)


def read(name: str, root: Path, download: bool) -> Raw:
    """Read a set of `NAMES`, downloading it into `root` if it is absent and that is wanted.

    Raises:
        UserError: if it is absent or damaged and cannot be downloaded.
    """
    if name == "digits":
        return _digits()
    source, folder = _SOURCES[name], root / _SOURCES[name].folder
    if name == "fashion_mnist" and not (folder / source.marker).exists():
        part = root / "fashion_mnist_subset"  # a part of it, as it travels with some archives
        folder = part if (part / source.marker).exists() else folder
    train, test, classes = _offline_or_downloaded(name, source, folder, root, download)
    spare = None
    if name == "mnist" and len(train.y) == source.train_images:
        # TensorFlow's read_data_sets keeps the first 5,000 for a validation that the paper
        # never made.
        spare, train = train.take(slice(5000)), train.take(slice(5000, None))
    part = len(train.y) + (5000 if spare else 0) < source.train_images
    return Raw(
        title=f"{source.title} (part)" if part else source.title,
        classes=classes,
        train=train,
        test=test,
        validation_size=validation_size(len(test.y)),
        spare=spare,
        part=part,
    )


def _digits() -> Raw:
    """1,797 handwritten digits, 8x8 with 17 levels of grey (Alpaydin & Kaynak 1998)."""
    from sklearn.datasets import load_digits  # slow to import, so only where it is needed

    bunch = load_digits()
    # Digits of one writer follow each other in the file; the legacy stream is frozen by NumPy's
    # policy, so this order stays what it is.
    order = np.random.RandomState(0).permutation(len(bunch.target))
    images = _images(bunch.images[order, None].astype(np.uint8), bunch.target[order])
    return Raw(
        title="digits 8x8",
        classes=tuple(str(digit) for digit in range(10)),
        train=images.take(slice(797)),
        test=images.take(slice(797, None)),
        validation_size=300,
        white=16,
    )


def _offline_or_downloaded(
    name: str, source: _Source, folder: Path, root: Path, download: bool
) -> tuple[Images, Images, tuple[str, ...]]:
    """Read what is on the disk; if that is nothing, or not whole, download it."""
    try:
        return _both_splits(source, folder, download=False)
    except ImportError:
        raise
    except Exception as error:  # torchvision and its parsers raise many kinds for a damaged file
        problem = error
    place = folder / source.marker
    there = place.is_file() or (place.is_dir() and any(place.iterdir()))
    state = "damaged or incomplete" if there else "absent"
    command = f"python -c \"from snlib import datasets; datasets.load('{name}', root='{root}')\""
    if "not found" not in str(problem):  # the files exist, so torchvision would not load them anew
        raise UserError(
            f"{source.title} in {place} is damaged ({_one_line(problem)}); delete that folder "
            f"and load it again: {command}"
        ) from None
    if not download:
        raise UserError(
            f"{source.title} is {state} in {folder} and download is False; fetch it with: {command}"
        ) from None
    try:
        with _quiet():
            return _both_splits(source, folder, download=True)
    except (OSError, RuntimeError, EOFError, http.client.HTTPException) as error:
        if "corrupted" in str(error):
            raise UserError(
                f"The download of {source.title} into {folder} is damaged: its MD5 checksum is not "
                f"the published one. Load it again: {command}"
            ) from None
        raise UserError(
            f"{source.title} is {state} in {folder} and could not be downloaded "
            f"({_one_line(error)}). With a network, fetch it with: {command}"
        ) from None


def _both_splits(
    source: _Source, folder: Path, *, download: bool
) -> tuple[Images, Images, tuple[str, ...]]:
    x, y, classes = source.read(source.kind, folder, True, download)
    x_test, y_test, _ = source.read(source.kind, folder, False, download)
    return _images(x, y), _images(x_test, y_test), tuple(classes)


def _images(x: object, y: object) -> Images:
    pixels = x if isinstance(x, Tensor) else torch.from_numpy(np.ascontiguousarray(x))
    return Images(pixels, torch.as_tensor(y, dtype=torch.int64))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torchvision's prints off the output, and its progress bar where nobody watches.

    A network that swallows packets ends in an error instead of a wait without end.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            if not sys.stderr.isatty():
                stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            yield
    finally:
        socket.setdefaulttimeout(before)


def _one_line(error: Exception) -> str:
    """The last reason that an error gives, in one line."""
    return " ".join(str(error).rsplit("got:", 1)[-1].split()) or type(error).__name__
