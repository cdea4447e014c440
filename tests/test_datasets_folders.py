"""Image folders: preprocessing, official orders, the cache, files that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from snlib import datasets
from snlib.datasets import folders, official
from snlib.errors import UserError


def write_folder(root, images, labels, classes=("cat", "dog"), split="train", names=None):
    """Write images (N, H, W[, C]) as <root>/<split>/<class>/<name>.png; name 0000 is per class."""
    counts = dict.fromkeys(range(len(classes)), 0)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / split / classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        name = names[index] if names else f"{counts[label]:04}.png"
        Image.fromarray(image).save(folder / name)
        counts[label] += 1


def colour_images(count, seed=0, side=32):
    """Images whose first pixel tells their index."""
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return images


@pytest.fixture
def pets(tmp_path):
    """A root with the colour folder `pets`: 12 + 8 images, official order by list of labels."""
    labels = {"train": [0, 1, 1, 0] * 3, "test": [1, 1, 0, 1, 0, 0, 0, 1]}
    for seed, (split, y) in enumerate(labels.items()):
        write_folder(tmp_path / "pets", colour_images(len(y), seed), y, split=split)
        text = "".join(map(str, y))
        (tmp_path / "pets" / f"{split}_labels_original_order.txt").write_text(text)
    return tmp_path


def test_folder_is_whitened_cropped_and_in_official_order(pets):
    data = datasets.load("pets", root=pets)
    assert (data.title, data.in_shape, data.class_names) == ("pets", (3, 28, 28), ("cat", "dog"))
    assert data.y_train.tolist() == [0, 1, 1, 0] * 3
    assert data.y_validation.tolist() == [1, 1] and data.y_test.tolist() == [0, 1, 0, 0, 0, 1]
    image = colour_images(8, 1)[5].transpose(2, 0, 1) / 255
    expected = ((image - image.mean()) / image.std())[:, 2:30, 2:30]
    np.testing.assert_allclose(data.x_test[3].numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(data.to_pixels(data.x_test)[3].numpy(), image[:, 2:30, 2:30],
                               atol=1e-6)  # fmt: skip
    low, high = data.pixel_box("test")
    assert float(low[3]) == pytest.approx(-image.mean() / image.std(), rel=1e-5)
    assert float(high[3]) == pytest.approx((1 - image.mean()) / image.std(), rel=1e-5)
    norms = [np.linalg.norm(x.double().numpy()) for x in data.x_train]
    assert data.mean_norm == pytest.approx(np.mean(norms), rel=1e-6)
    assert datasets.names(pets)[-1] == "pets"


def test_to_pixels_takes_the_index_and_refuses_a_wrong_one(pets):
    data = datasets.load("pets", root=pets)
    whole = data.to_pixels(data.x_train, "train")
    assert torch.allclose(data.to_pixels(data.x_train[4:6], "train", slice(4, 6)), whole[4:6])
    assert float(whole.min()) + 1e-6 >= 0 and float(whole.max()) <= 1 + 1e-6
    with pytest.raises(UserError, match="x holds 2 images and index names 12"):
        data.to_pixels(data.x_train[4:6], "train")
    with pytest.raises(UserError, match=r"split is 'tset'.*'test'"):
        data.pixel_box("tset")


def test_positions_in_file_names_are_the_official_order(tmp_path):
    names = [f"x_{number}.png" for number in (30, 4, 100, 5)]
    for split in ("train", "test"):
        write_folder(tmp_path / "pets", colour_images(4), [0, 0, 1, 1], split=split, names=names)
    data = datasets.load("pets", root=tmp_path)
    first = [round(float(p)) for p in folders.read("pets", tmp_path).train.x[:, 0, 0, 0]]
    assert first == [1, 3, 0, 2] and data.y_train.tolist() == [0, 1, 0, 1]


def test_without_an_official_order_the_first_images_are_mixed(tmp_path):
    for split in ("train", "test"):
        write_folder(tmp_path / "pets", colour_images(80), [0] * 40 + [1] * 40, split=split)
    data = datasets.load("pets", root=tmp_path)
    assert len(data.y_validation) == 20 and 2 <= int(data.y_validation.sum()) <= 18
    raw = folders.read("pets", tmp_path)
    assert torch.equal(raw.train.y, (raw.train.x[:, 0, 0, 0] >= 40).long())
    assert sorted(raw.train.x[:, 0, 0, 0].tolist()) == list(range(80))


def test_grey_folder_stays_raw(tmp_path):
    images = colour_images(8)[..., 0]
    for split in ("train", "test"):
        write_folder(tmp_path / "grey", images, [0, 1] * 4, split=split)
    data = datasets.load("grey", root=tmp_path)
    assert data.in_shape == (1, 32, 32) and data.mean is None and data.scale is None
    assert float(data.x_train.max()) == images.max() / 255
    low, high = data.pixel_box("train")
    assert low.shape == (8, 1, 1, 1) and low.eq(0).all() and high.eq(1).all()
    assert torch.equal(data.to_pixels(data.x_test), data.x_test)


def test_grey_images_among_colour_ones_become_colour(pets):
    Image.fromarray(colour_images(1)[0, ..., 0]).save(pets / "pets" / "train" / "cat" / "0000.png")
    x = folders.read("pets", pets).train.x
    assert x.shape == (12, 3, 32, 32) and torch.equal(x[0, 0], x[0, 2])


def test_cache_is_used_noticed_and_renewed(pets, monkeypatch):
    first = datasets.load("pets", root=pets)

    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(folders, "_decode", refuse)
    again = datasets.load("pets", root=pets)
    assert torch.equal(first.x_train, again.x_train) and torch.equal(first.y_test, again.y_test)
    monkeypatch.undo()
    Image.fromarray(colour_images(1, seed=9)[0]).save(pets / "pets" / "train" / "cat" / "0000.png")
    changed = datasets.load("pets", root=pets)
    assert not torch.equal(first.x_train[0], changed.x_train[0])
    assert torch.equal(first.x_train[1], changed.x_train[1])
    [cache] = (pets / ".cache").iterdir()  # the old one is gone, no temporary file is left
    cache.write_bytes(cache.read_bytes()[:1000])
    assert torch.equal(datasets.load("pets", root=pets).x_train, changed.x_train)
    with np.load(cache, allow_pickle=False) as stored:
        assert stored["train_x"].dtype == np.uint8


def test_a_cache_that_cannot_be_written_is_done_without(pets):
    (pets / ".cache").write_text("in the way")
    assert len(datasets.load("pets", root=pets).y_train) == 12


def spoil_size(folder):
    Image.fromarray(colour_images(1, side=16)[0]).save(folder / "test" / "dog" / "0000.png")


def spoil_channels(folder):
    Image.new("RGBA", (32, 32)).save(folder / "train" / "cat" / "0001.png")


def spoil_bytes(folder):
    (folder / "train" / "cat" / "0001.png").write_bytes(b"no image")


def cut_bytes(folder):
    path = folder / "train" / "cat" / "0001.png"
    path.write_bytes(path.read_bytes()[:700])


def spoil_class(folder):
    (folder / "test" / "dog").rename(folder / "test" / "dogs")


def spoil_labels(folder):
    (folder / "test_labels_original_order.txt").write_text("11010007")


def empty_class(folder):
    (folder / "train" / "eel").mkdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_size, "0000.png is 16x16 pixels, others in .*pets are 32x32; bring all to one size"),
        (spoil_channels, "0001.png has the channels 'RGBA'; allowed are 8-bit grey .L. and colour"),
        (spoil_bytes, "0001.png is not a readable image"),
        (cut_bytes, "0001.png is not a readable image"),
        (spoil_class, "classes cat, dog in train and cat, dogs in test; they must be the same"),
        (spoil_labels, "Labels must lie in 0 to 1"),
        (empty_class, "eel holds no image; allowed are files ending in .png"),
    ],
)
def test_unusable_folders_are_named(pets, spoil, words):
    spoil(pets / "pets")
    with pytest.raises(UserError, match=words) as caught:
        datasets.load("pets", root=pets)
    assert "\n" not in str(caught.value)


def test_unknown_data_set_suggests_the_nearest_and_lists_folders(pets):
    with pytest.raises(UserError, match=r"data is 'digitz'; allowed are .*Did you mean 'digits'"):
        datasets.load("digitz", root=pets)
    with pytest.raises(UserError, match=r"svhn, pets\. Did you mean 'pets'"):
        datasets.load("pest", root=pets)
    with pytest.raises(UserError, match=r"data is '\.\./pets'"):
        datasets.load("../pets", root=pets / "pets")
    with pytest.raises(UserError, match=r"CIFAR-10 \(JPEG\) is not in .*cifar10_jpeg/\{train,test"):
        datasets.load("cifar10_jpeg", root=pets)
    with pytest.raises(UserError, match=r"^Tiny ImageNet is not in .*tiny_imagenet/\{train,test\}"):
        datasets.load("tiny_imagenet", root=pets)
    assert datasets.names("/nowhere") == list(official.NAMES)
