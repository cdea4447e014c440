"""Torchvision's sets: downloaded from 127.0.0.1 in the official formats, checked, split."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import pickle
import struct
import tarfile
import threading
import urllib.request

import numpy as np
import pytest
import scipy.io
import torch
import torchvision

from snlib import datasets
from snlib.datasets import official
from snlib.errors import UserError

CLOSED = "http://127.0.0.1:9/"  # the discard port: nobody listens


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder and the address under which 127.0.0.1 serves it, whatever proxies are set."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(urllib.request, "_opener", None)
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def idx(array: np.ndarray) -> bytes:
    """LeCun's idx format."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()


def mnist_arrays(train=60_000, test=40):
    """Images of 2x2 pixels that hold their own index, so that full size stays small."""
    arrays = {}
    for split, count in (("train", train), ("t10k", test)):
        index = np.arange(count, dtype=">u4")
        arrays[f"{split}-images-idx3-ubyte"] = index.view(np.uint8).reshape(count, 2, 2)
        arrays[f"{split}-labels-idx1-ubyte"] = np.arange(count) % 10
    return arrays


def index_of(x: torch.Tensor) -> list[int]:
    """Which image is it: the inverse of `mnist_arrays`."""
    values = (x * 255).round().long().flatten(1)
    return (values * torch.tensor([1 << 24, 1 << 16, 1 << 8, 1])).sum(1).tolist()


def serve_mnist(monkeypatch, server, kind="MNIST", **sizes):
    folder, address = server
    resources = []
    for name, array in mnist_arrays(**sizes).items():
        content = gzip.compress(idx(array), mtime=0)
        (folder / f"{name}.gz").write_bytes(content)
        resources.append((f"{name}.gz", md5(content)))
    monkeypatch.setattr(getattr(torchvision.datasets, kind), "mirrors", [CLOSED, address])
    monkeypatch.setattr(getattr(torchvision.datasets, kind), "resources", resources)


def test_mnist_is_downloaded_and_split_as_tensorflow_did(tmp_path, monkeypatch, server, capfd):
    serve_mnist(monkeypatch, server)
    root = tmp_path / "data"
    data = datasets.load("mnist", root=root)
    assert capfd.readouterr() == ("", "")
    assert (data.title, data.in_shape) == ("MNIST", (1, 2, 2))
    assert index_of(data.x_train) == list(range(5000, 60_000))
    assert index_of(data.x_validation) == list(range(10))
    assert index_of(data.x_test) == list(range(10, 40))
    assert data.y_test.tolist() == [i % 10 for i in range(10, 40)]
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [CLOSED])  # now it is on the disk
    other = datasets.load("mnist", root=root, validation="train", train_size=1000)
    assert index_of(other.x_validation) == list(range(10)) and len(other.y_test) == 40
    assert min(index_of(other.x_train)) >= 5000 and len(set(index_of(other.x_train))) == 1000
    assert other.title == "MNIST, 1,000 training images"


def test_damaged_download_is_told_from_no_network(tmp_path, monkeypatch, server):
    serve_mnist(monkeypatch, server, train=100)
    (server[0] / "train-images-idx3-ubyte.gz").write_bytes(b"half a file")
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [server[1]])
    with pytest.raises(UserError, match=r"MNIST into .* is damaged: its MD5 checksum") as caught:
        datasets.load("mnist", root=tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    serve_mnist(monkeypatch, server, train=100)  # whole again: a second call mends it
    assert datasets.load("mnist", root=tmp_path).title == "MNIST (part), 100 training images"


def test_damaged_file_on_the_disk(tmp_path, monkeypatch, server):
    serve_mnist(monkeypatch, server, train=100)
    datasets.load("mnist", root=tmp_path)
    images = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:100])
    with pytest.raises(UserError, match=r"MNIST in .*raw is damaged .*; delete that folder"):
        datasets.load("mnist", root=tmp_path)


def test_labels_out_of_range(tmp_path, monkeypatch, server):
    serve_mnist(monkeypatch, server, train=100)
    datasets.load("mnist", root=tmp_path)
    labels = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x0b")
    with pytest.raises(UserError, match=r"test labels from 0 to 11; with 10 classes .* 0 to 9"):
        datasets.load("mnist", root=tmp_path)


def test_part_of_fashion_mnist_is_found_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", [CLOSED])
    raw = tmp_path / "fashion_mnist_subset" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, array in mnist_arrays(train=60).items():
        (raw / name).write_bytes(idx(array))
    data = datasets.load("fashion_mnist", root=tmp_path)
    assert data.title == "Fashion-MNIST (part), 60 training images"
    assert index_of(data.x_train) == list(range(60)) and data.class_names[9] == "Ankle boot"


def colour_images(count, seed=0, side=32):
    """Images whose first pixel tells their index."""
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return images


def serve_cifar(monkeypatch, server, kind, key):
    """A CIFAR archive of 10 + 8 images in the official format; the images."""
    folder, address = server
    source = getattr(torchvision.datasets, kind)
    images = colour_images(18)
    rows = images.transpose(0, 3, 1, 2).reshape(18, -1)
    classes = [f"class {i}" for i in range(10)]
    parts = [name for name, _ in source.train_list + source.test_list]
    members, lists, start = {}, [], 0
    for position, name in enumerate(parts):
        count = 8 if position == len(parts) - 1 else 10 // (len(parts) - 1)
        labels = [i % 10 for i in range(start, start + count)]
        members[name] = pickle.dumps({"data": rows[start : start + count], key: labels})
        lists.append([name, md5(members[name])])
        start += count
    meta = dict(source.meta)
    members[meta["filename"]] = pickle.dumps({meta["key"]: classes})
    meta["md5"] = md5(members[meta["filename"]])
    staging = folder / source.base_folder
    staging.mkdir()
    for name, content in members.items():
        (staging / name).write_bytes(content)
    with tarfile.open(folder / source.filename, "w:gz") as archive:
        archive.add(staging, source.base_folder)
    monkeypatch.setattr(source, "url", address + source.filename)
    monkeypatch.setattr(source, "tgz_md5", md5((folder / source.filename).read_bytes()))
    monkeypatch.setattr(source, "train_list", lists[:-1])
    monkeypatch.setattr(source, "test_list", lists[-1:])
    monkeypatch.setattr(source, "meta", meta)
    return images


@pytest.mark.parametrize(
    ("name", "kind", "key"),
    [("cifar10", "CIFAR10", "labels"), ("cifar100", "CIFAR100", "fine_labels")],
)
def test_cifar_is_downloaded_whitened_and_checked(tmp_path, monkeypatch, server, name, kind, key):
    images = serve_cifar(monkeypatch, server, kind, key)
    data = datasets.load(name, root=tmp_path / "data")
    assert data.in_shape == (3, 28, 28) and data.class_names[3] == "class 3"
    assert data.title == f"CIFAR-{name[5:]} (part), 10 training images"
    assert data.y_train.tolist() == list(range(10)) and data.y_validation.tolist() == [0, 1]
    pixels = images[12].transpose(2, 0, 1) / 255
    expected = ((pixels - pixels.mean()) / pixels.std())[:, 2:30, 2:30]
    np.testing.assert_allclose(data.x_test[0].numpy(), expected, atol=1e-5)
    # A batch changed on the disk, and no network to mend it.
    source = getattr(torchvision.datasets, kind)
    batch = tmp_path / "data" / source.base_folder / source.test_list[0][0]
    batch.write_bytes(batch.read_bytes()[:-3])
    (tmp_path / "data" / source.filename).unlink()
    monkeypatch.setattr(source, "url", CLOSED + source.filename)
    with pytest.raises(UserError, match=r"is damaged or incomplete in .* could not be downloaded"):
        datasets.load(name, root=tmp_path / "data")


def test_svhn_is_downloaded_and_ten_means_zero(tmp_path, monkeypatch, server):
    folder, address = server
    splits = {}
    for split, labels in (("train", [1, 10, 3, 4, 5]), ("test", [10, 9, 8, 7, 10, 5, 4, 3])):
        images = colour_images(len(labels)).transpose(1, 2, 3, 0)
        path = folder / f"{split}_32x32.mat"
        scipy.io.savemat(path, {"X": images, "y": np.array(labels, dtype=np.uint8)[:, None]})
        splits[split] = [address + path.name, path.name, md5(path.read_bytes())]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", splits)
    data = datasets.load("svhn", root=tmp_path / "data")
    assert data.y_train.tolist() == [1, 0, 3, 4, 5] and data.y_validation.tolist() == [0, 9]
    assert data.in_shape == (3, 28, 28) and data.class_names == tuple("0123456789")
    pixels = colour_images(5)[1].transpose(2, 0, 1) / 255
    expected = ((pixels - pixels.mean()) / pixels.std())[:, 2:30, 2:30]
    np.testing.assert_allclose(data.x_train[1].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", official.NAMES[1:])
def test_absent_and_no_network_is_one_plain_line(tmp_path, monkeypatch, name, capfd):
    for kind in ("MNIST", "FashionMNIST"):
        monkeypatch.setattr(getattr(torchvision.datasets, kind), "mirrors", [CLOSED])
    for kind in ("CIFAR10", "CIFAR100"):
        monkeypatch.setattr(getattr(torchvision.datasets, kind), "url", CLOSED + "archive")
    splits = {split: [CLOSED + "x", "x.mat", "0"] for split in ("train", "test")}
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", splits)
    for _ in range(2):  # what the first attempt leaves behind must not look like data
        with pytest.raises(UserError, match=r"is absent in .* could not be downloaded") as caught:
            datasets.load(name, root=tmp_path)
    message = str(caught.value)
    assert "\n" not in message and str(tmp_path) in message
    assert f"datasets.load('{name}', root='{tmp_path}')" in message
    assert capfd.readouterr() == ("", "")
    with pytest.raises(UserError, match="download is False; fetch it with"):
        datasets.load(name, root=tmp_path, download=False)
