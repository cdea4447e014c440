"""Data sets: the digits, preprocessing by its formula, splits, labels, plain errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.datasets import load_digits

from snlib import datasets
from snlib.datasets import preprocessing
from snlib.errors import UserError


def test_digits_are_scikit_learns_and_disjoint():
    data = datasets.load("digits")
    assert (data.title, data.in_shape, data.classes) == ("digits 8x8", (1, 8, 8), 10)
    splits = {name: getattr(data, f"y_{name}") for name in ("train", "validation", "test")}
    assert {name: len(y) for name, y in splits.items()} == {
        "train": 797, "validation": 300, "test": 700,
    }  # fmt: skip
    bunch = load_digits()
    # Some digits may be equal in every pixel, so multisets (image, label) are compared.
    expected = sorted(
        (tuple(i.ravel() / 16), t) for i, t in zip(bunch.images, bunch.target, strict=True)
    )
    ours = sorted(
        (tuple(x.flatten().double().numpy()), int(y))
        for name, labels in splits.items()
        for x, y in zip(getattr(data, f"x_{name}"), labels, strict=True)
    )
    assert ours == expected
    assert data.x_train.dtype == torch.float32 and data.y_train.dtype == torch.int64
    assert all(labels.bincount(minlength=10).min() > 15 for labels in splits.values())


def test_train_size_is_fixed_nested_and_seeded():
    whole = datasets.load("digits")
    small, large = (datasets.load("digits", train_size=n) for n in (100, 300))
    assert torch.equal(small.x_train, large.x_train[:100])
    assert torch.equal(small.y_train, datasets.load("digits", train_size=100).y_train)
    assert not torch.equal(small.y_train, datasets.load("digits", train_size=100, seed=1).y_train)
    assert torch.equal(small.x_test, whole.x_test)
    assert small.title == "digits 8x8, 100 training images"
    rows = {tuple(x.flatten().tolist()) for x in whole.x_train}
    assert all(tuple(x.flatten().tolist()) in rows for x in small.x_train)
    norms = [math.sqrt(sum(v * v for v in x.flatten().tolist())) for x in small.x_train]
    assert small.mean_norm == pytest.approx(sum(norms) / 100, rel=1e-6)


def test_validation_from_train_leaves_the_test_set_whole():
    usual, other = datasets.load("digits"), datasets.load("digits", validation="train")
    assert torch.equal(other.x_test, torch.cat([usual.x_validation, usual.x_test]))
    assert (len(other.y_train), len(other.y_validation)) == (497, 300)
    together = torch.cat([other.x_train, other.x_validation]).flatten(1)
    assert sorted(map(tuple, together.tolist())) == sorted(
        map(tuple, usual.x_train.flatten(1).tolist())
    )


def test_random_labels_are_uniform_fixed_and_only_for_training():
    true, random = datasets.load("digits"), datasets.load("digits", labels="random")
    assert torch.equal(true.x_train, random.x_train) and torch.equal(true.y_test, random.y_test)
    assert torch.equal(true.y_validation, random.y_validation)
    assert random.title == "digits 8x8, random labels"
    # 797 draws: counts 79.7 +- 8.5, right labels 79.7 +- 8.5; 5 standard deviations are allowed.
    assert all(abs(int(n) - 79.7) < 43 for n in random.y_train.bincount(minlength=10))
    assert abs(int((true.y_train == random.y_train).sum()) - 79.7) < 43
    # An image keeps its label in a subset.
    subset = datasets.load("digits", labels="random", train_size=50)
    label = {
        tuple(x.flatten().tolist()): int(y)
        for x, y in zip(random.x_train, random.y_train, strict=True)
    }
    assert [label[tuple(x.flatten().tolist())] for x in subset.x_train] == subset.y_train.tolist()


def test_no_global_generator_is_touched():
    np.random.seed(1)
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    datasets.load("digits", labels="random", train_size=10, validation="train")
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


@settings(max_examples=40)
@given(hnp.arrays(np.uint8, (3, 3, 32, 32), elements=st.integers(0, 255)), st.booleans())
def test_whitening_is_tensorflows_and_comes_before_the_crop(images, flat):
    if flat:
        images[1] = images[1, 0, 0, 0]  # a constant image: the standard deviation is 0
    ready = preprocessing.preprocess(torch.from_numpy(images), white=255)
    pixels = images.astype(np.float64) / 255
    for image, x in zip(pixels, ready.x, strict=True):
        scale = max(image.std(), 1 / math.sqrt(3072))
        expected = ((image - image.mean()) / scale)[:, 2:30, 2:30]
        # A constant image is divided by 1/55: one rounding of its float32 mean comes to 1e-5.
        np.testing.assert_allclose(x.numpy(), expected, rtol=2e-5, atol=5e-5)
    np.testing.assert_allclose(ready.mean.numpy(), pixels.mean((1, 2, 3)), atol=1e-6)


def test_crop_sizes():
    assert preprocessing.preprocess(torch.ones(1, 3, 64, 64).byte(), 255).x.shape[2:] == (56, 56)
    assert preprocessing.preprocess(torch.ones(1, 3, 32, 32).byte(), 255).x.shape[2:] == (28, 28)
    assert preprocessing.preprocess(torch.ones(1, 1, 28, 28).byte(), 255).x.shape[2:] == (28, 28)


def test_more_images_than_a_chunk():
    images = torch.randint(0, 256, (600, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    whole = preprocessing.preprocess(images.byte(), 255)
    one = preprocessing.preprocess(images[571:572].byte(), 255)
    assert torch.allclose(whole.x[571], one.x[0]) and whole.scale[571] == one.scale[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_size": 798}, "train_size is 798; it must be an integer from 1 to 797"),
        ({"train_size": 0}, "train_size is 0"),
        ({"train_size": 0.5}, "train_size is 0.5"),
        ({"train_size": 498, "validation": "train"}, "from 1 to 497"),
        ({"labels": "radnom"}, "labels is 'radnom'.*'random'"),
        ({"validation": "val"}, "validation is 'val'; allowed are test, train"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_options_are_named(change, words):
    with pytest.raises(UserError, match=words):
        datasets.load("digits", **change)
