"""Any folder of images: <root>/<name>/{train,test}/<class>/*, as torchvision's ImageFolder has it.

Decoding tens of thousands of small files takes long, so the pixels are kept in one file under
`<root>/.cache`, named by a digest of every image's path, size and time: a changed folder is seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from snlib import errors
from snlib.datasets.raw import Images, Raw, validation_size
from snlib.errors import UserError

TITLES = {
    "cifar10_jpeg": "CIFAR-10 (JPEG)",
    "cifar10_lossless": "CIFAR-10 (lossless part)",
    "tiny_imagenet": "Tiny ImageNet",
    "tiny_imagenet_subset": "Tiny ImageNet (part)",
}
PARTS = ("cifar10_lossless", "tiny_imagenet_subset")

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff")
_GREY, _COLOUR = ("1", "L"), ("RGB", "P", "CMYK", "YCbCr")
_FORMAT = "1"  # of the cache; a change of order or layout raises it

_Listing = dict[str, list[os.DirEntry]]  # class -> images, by file name


def found(root: Path) -> list[str]:
    """Names of the image folders in `root`: those with a train and a test folder."""
    if not root.is_dir():
        return []
    return sorted(
        folder.name
        for folder in root.iterdir()
        if not folder.name.startswith(".") and all((folder / s).is_dir() for s in ("train", "test"))
    )


def read(name: str, root: Path) -> Raw:
    """Read an image folder, from the cache if nothing changed.

    All images must have one size. They are grey if every one of them is, else colour.

    Raises:
        UserError: naming the file or folder that cannot be used, and why.
    """
    folder = root / name
    listings = {split: _list(folder / split) for split in ("train", "test")}
    classes = list(listings["train"])
    errors.require(
        classes == list(listings["test"]),
        f"{folder} has the classes {', '.join(classes)} in train and "
        f"{', '.join(listings['test'])} in test; they must be the same.",
    )
    cache = root / ".cache" / f"{name}-{_digest(folder, listings)}.npz"
    arrays = _cached(cache)
    if arrays is None:
        arrays = _decode(folder, listings)
        _store(cache, name, arrays)
    train, test = (
        Images(torch.from_numpy(arrays[f"{split}_x"]), torch.from_numpy(arrays[f"{split}_y"]))
        for split in ("train", "test")
    )
    size = validation_size(len(test.y))
    title, part = TITLES.get(name, name), name in PARTS
    return Raw(title, tuple(classes), train, test, validation_size=size, part=part)


def _list(folder: Path) -> _Listing:
    """Every class folder, in alphabetical order, with its images in alphabetical order."""
    listing = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir() and not entry.name.startswith("."):
            images = [e for e in os.scandir(entry.path) if e.name.lower().endswith(_SUFFIXES)]
            errors.require(
                bool(images),
                f"{entry.path} holds no image; allowed are files ending in {', '.join(_SUFFIXES)}.",
            )
            listing[entry.name] = sorted(images, key=lambda image: image.name)
    errors.require(
        len(listing) >= 2,
        f"{folder} holds {len(listing)} class folders; a data set needs at least 2.",
    )
    return listing


def _digest(folder: Path, listings: dict[str, _Listing]) -> str:
    """A name for exactly these files."""
    digest = hashlib.sha256(_FORMAT.encode())
    for split, listing in listings.items():
        order = _order_file(folder, split)
        digest.update(order.read_bytes() if order.is_file() else b"-")
        for label, images in listing.items():
            for image in images:
                status = image.stat()
                line = f"{split}/{label}/{image.name} {status.st_size} {status.st_mtime_ns}\n"
                digest.update(line.encode())
    return digest.hexdigest()[:16]


def _order_file(folder: Path, split: str) -> Path:
    return folder / f"{split}_labels_original_order.txt"


def _ordered(folder: Path, split: str, listing: _Listing) -> list[tuple[str, int]]:
    """Path and label of each image, in the official order where it can be known.

    That is: by the list of labels beside the folder, where the k-th image of a class is its k-th
    file; else by the number at the end of the file names, if no number occurs twice; else in a
    fixed random order, for in the order of the classes the first images would be of one class.
    """
    order = _order_file(folder, split)
    images = list(listing.values())
    if order.is_file():
        words = order.read_text().split()
        digits = words[0] if len(words) == 1 else words  # one digit an image, or a word
        labels = [int(digit) if digit.isdigit() else -1 for digit in digits]
        named = [labels.count(label) for label in range(len(images))]
        errors.require(
            named == [len(part) for part in images] and len(labels) == sum(named),
            f"{order} lists {named} images of each class and {len(labels)} labels; the folder "
            f"holds {[len(part) for part in images]}. Labels must lie in 0 to {len(images) - 1}.",
        )
        remaining = [iter(part) for part in images]
        return [(next(remaining[label]).path, label) for label in labels]
    flat = [(image, label) for label, part in enumerate(images) for image in part]
    numbers = [re.search(r"(\d+)\.\w+$", image.name) for image, _ in flat]
    positions = [int(number[1]) for number in numbers if number]
    if len(set(positions)) == len(flat):
        ranks = np.argsort(positions)
    else:
        ranks = np.random.RandomState(0).permutation(len(flat))
    return [(flat[rank][0].path, flat[rank][1]) for rank in ranks]


def _decode(folder: Path, listings: dict[str, _Listing]) -> dict[str, np.ndarray]:
    """Pixels (N, C, H, W) in uint8 and labels (N,) of both splits."""
    pixels: dict[str, list[np.ndarray]] = {}
    arrays: dict[str, np.ndarray] = {}
    size = None
    for split, listing in listings.items():
        ordered = _ordered(folder, split, listing)
        pixels[split] = [_pixels(path) for path, _ in ordered]
        arrays[f"{split}_y"] = np.array([label for _, label in ordered], dtype=np.int64)
        for (path, _), image in zip(ordered, pixels[split], strict=True):
            size = size or image.shape[:2]
            errors.require(
                image.shape[:2] == size,
                f"{path} is {image.shape[1]}x{image.shape[0]} pixels, others in {folder} are "
                f"{size[1]}x{size[0]}; bring all to one size.",
            )
    grey = all(image.ndim == 2 for images in pixels.values() for image in images)
    for split, images in pixels.items():
        if grey:
            arrays[f"{split}_x"] = np.stack(images)[:, None]
        else:
            colour = [np.stack([i] * 3, -1) if i.ndim == 2 else i for i in images]
            arrays[f"{split}_x"] = np.ascontiguousarray(np.stack(colour).transpose(0, 3, 1, 2))
    return arrays


def _pixels(path: str) -> np.ndarray:
    """Decode one image to (H, W) if it is grey or (H, W, 3) if it has colours."""
    try:
        with Image.open(path) as image:
            errors.require(
                image.mode in _GREY + _COLOUR,
                f"{path} has the channels {image.mode!r}; allowed are 8-bit grey (L) and colour "
                "(RGB). Convert it.",
            )
            return np.asarray(image.convert("L" if image.mode in _GREY else "RGB"))
    except UserError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is not a readable image ({reason}); replace or delete it."
        ) from None


def _cached(path: Path) -> dict[str, np.ndarray] | None:
    """What the cache holds, or None if it is absent or damaged."""
    try:
        # NumPy leaves a damaged file open; this closes it.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            return {key: stored[key] for key in ("train_x", "train_y", "test_x", "test_y")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _store(path: Path, name: str, arrays: dict[str, np.ndarray]) -> None:
    """Write the cache in one step and drop older ones of the same folder.

    A disk that is full or read-only costs time at the next loading, nothing else.
    """
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                np.savez(file, **arrays)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        for old in path.parent.glob(f"{name}-*.npz"):
            if old != path and re.fullmatch(re.escape(name) + "-[0-9a-f]{16}", old.stem):
                old.unlink(missing_ok=True)
