"""Near-duplicates of real and synthetic images: copies found, distinct ones kept apart; groups."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.split import duplicates, perceptual
from tfds_builder.hpa.synthetic import render

SAMPLE = pytest.mark.skipif("HPA_SAMPLE_DIR" not in os.environ, reason="HPA_SAMPLE_DIR is not set")


def jpg(image, quality):
    """Each channel through JPG and back."""
    planes = [
        cv2.imencode(".jpg", image[..., c], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        for c in range(4)
    ]
    return np.stack([cv2.imdecode(plane, cv2.IMREAD_GRAYSCALE) for plane in planes], axis=-1)


def scaled(image, factor):
    return np.clip(np.round(image * factor), 0, 255).astype(np.uint8)


def resized(image, size):
    return cv2.resize(
        image, (size, size), interpolation=cv2.INTER_AREA if size < len(image) else cv2.INTER_CUBIC
    )


COPIES = {
    "as it is": lambda image: image,
    "JPG 90": lambda image: jpg(image, 90),
    "JPG 50": lambda image: jpg(image, 50),
    "half the size": lambda image: resized(image, len(image) // 2),
    "512 or 2048 px": lambda image: resized(image, 2048 if len(image) == 512 else 512),
    "300 px": lambda image: resized(image, 300),
    "darker": lambda image: scaled(image, 0.7),
    "brighter": lambda image: scaled(image, 1.3),
    "one pixel aside": lambda image: np.roll(image, (1, 1), (0, 1)),
    "its rim cut off": lambda image: image[(n := len(image) // 100) : -n, n:-n],
    "brighter, half the size, JPG 75": lambda image: jpg(
        resized(scaled(image, 1.2), len(image) // 2), 75
    ),
}


def hashes_of(images):
    return np.array(
        [np.frombuffer(perceptual.perceptual_hash(image), np.uint8) for image in images]
    )


def find_duplicates(images):
    thumbnails = [perceptual.thumbnail(image) for image in images]
    return duplicates.near_duplicates(
        hashes_of(images), lambda a, b: perceptual.same_pixels(thumbnails[a], thumbnails[b])
    )


def distances(hashes, others):
    return np.bitwise_count(hashes[:, None] ^ others[None]).sum(-1)


@pytest.fixture(scope="module")
def real():
    """77 images of the challenge at 512 px, then 4 of HPA v18 at 1728 and 2048."""
    folder = Path(os.environ["HPA_SAMPLE_DIR"])
    ids = sorted(
        {path.stem.rpartition("_")[0] for path in (folder / "kaggle_512" / "train").glob("*.png")}
    )
    images = [
        np.stack(
            [cv2.imread(folder / "kaggle_512" / "train" / f"{id}_{c}.png", 0) for c in CHANNELS], -1
        )
        for id in ids
    ]
    for id in sorted(
        {path.stem.rpartition("_")[0] for path in (folder / "hpav18_jpg" / "images").glob("*.jpg")}
    ):
        colours = [cv2.imread(folder / "hpav18_jpg" / "images" / f"{id}_{c}.jpg") for c in CHANNELS]
        images.append(np.stack([colour.max(-1) for colour in colours], -1))
    assert len(images) == 81
    return images


@SAMPLE
def test_real_images_are_not_duplicates(real):
    hashes = hashes_of(real)
    assert distances(hashes, hashes)[np.triu_indices(81, 1)].min() >= 80
    thumbnails = [perceptual.thumbnail(image) for image in real]
    rows = np.stack([image.reshape(-1, 4) for image in thumbnails]).astype(float)
    rows -= rows.mean(1, keepdims=True)
    rows /= np.sqrt((rows**2).sum(1, keepdims=True))
    alike = np.einsum("ipc,jpc->ijc", rows, rows)[np.triu_indices(81, 1)]
    print(
        f"largest correlation of distinct images: any channel {alike.max():.3f}, "
        f"all {alike.min(1).max():.3f}"
    )
    assert alike.max() < 0.3
    assert not any(
        perceptual.same_pixels(thumbnails[a], thumbnails[b])
        for a, b in np.argwhere(np.eye(81, k=1))
    )
    assert find_duplicates(real) == []


@SAMPLE
@pytest.mark.parametrize("copy", COPIES)
def test_copies_of_real_images_are_found(real, copy):
    originals = real[:77:14] + real[77:79]
    copies = [COPIES[copy](image) for image in originals]
    away = np.diag(distances(hashes_of(originals), hashes_of(copies)))
    print(f"{copy}: differ in {np.median(away):.0f} bits, at most {away.max()}")
    assert away.max() <= 20
    assert all(
        perceptual.same_pixels(image, other) for image, other in zip(originals, copies, strict=True)
    )
    n = len(originals)
    pairs = find_duplicates(originals + copies)
    assert [(pair.a, pair.b) for pair in pairs] == [(k, k + n) for k in range(n)]
    assert [pair.distance for pair in pairs] == away.tolist()


@SAMPLE
def test_rotated_images_and_images_with_another_channel_are_others(real):
    image = real[0]
    assert not perceptual.same_pixels(image, image[::-1])
    assert not perceptual.same_pixels(image, np.rot90(image))
    other = image.copy()
    other[..., 1] = real[1][..., 1]
    assert not perceptual.same_pixels(image, other)


@SAMPLE
def test_an_image_whose_channels_are_missing_is_judged_by_those_that_it_has(real):
    image = real[0]
    green = image * np.array([0, 1, 0, 0], np.uint8)
    others = image * np.array([1, 0, 1, 1], np.uint8)
    assert [(pair.a, pair.b) for pair in find_duplicates([image, green, real[1]])] == [(0, 1)]
    assert [(pair.a, pair.b) for pair in find_duplicates([others, image, real[1]])] == [(0, 1)]
    # Nothing in common is no evidence.
    assert find_duplicates([green, others]) == []
    assert not perceptual.same_pixels(green, others)


def test_synthetic_images():
    """Small ones as well: none is another's duplicate, and copies of some are found."""
    for size in (48, 160):
        labels = render.draw_labels(0, 40, "real")
        images = [render.render(0, index, labels[index], size) for index in range(40)]
        copies = [jpg(scaled(image, 0.9), 90) for image in images[:5]]
        assert [(pair.a, pair.b) for pair in find_duplicates(images + copies)] == [
            (k, 40 + k) for k in range(5)
        ]


def test_blank_channels():
    """A blank channel makes no two images alike; entirely blank images are so only if equal."""
    labels = render.draw_labels(0, 4, "real")
    images = [render.render(0, index, labels[index], 96) for index in range(4)]
    for image in images:
        image[..., 1:3] = 0
    images.append(scaled(images[2], 0.8))
    assert [(pair.a, pair.b) for pair in find_duplicates(images)] == [(2, 4)]
    assert perceptual.perceptual_hash(images[0])[8:24] == bytes(16)

    black = np.zeros((96, 96, 4), np.uint8)
    noise = np.random.default_rng(0).integers(0, 2, black.shape).astype(np.uint8)
    dim, dark = black + np.uint8(9), images[0] * np.array([1, 0, 0, 0], np.uint8)
    assert perceptual.perceptual_hash(black) == perceptual.perceptual_hash(dim) == bytes(32)
    found = find_duplicates([black, dim, noise, dark, black, dim])
    assert [(pair.a, pair.b) for pair in found] == [(0, 4), (1, 5)]


def test_ten_thousand_equal_images():
    """As many comparisons as images, not their square, even if pixels differ and hashes agree."""
    calls = []

    def same(a, b):
        calls.append((a, b))
        return a % 2 == b % 2

    groups = duplicates.group_numbers(
        3_000, duplicates.near_duplicates(np.zeros((3_000, 32)), same), [""] * 3_000
    )
    assert len(calls) < 3_000 * 9
    assert groups.max() < 10  # two contents; all but a few are found
    assert all(
        len(set(np.flatnonzero(groups == group) % 2)) == 1 for group in range(groups.max() + 1)
    )

    calls.clear()
    rng = np.random.default_rng(1)
    hashes = np.tile(rng.integers(0, 256, 32, dtype=np.uint8), (10_000, 1))
    for image in range(10_000):  # a cloud of near ones
        for bit in rng.integers(0, 256, rng.integers(0, 4)):
            hashes[image, bit // 8] ^= np.uint8(1 << (bit % 8))
    pairs = duplicates.near_duplicates(hashes, lambda a, b: calls.append((a, b)) or True)
    assert len(pairs) == 9_999
    assert len(calls) < 12_000


def test_confirmations_can_be_spread_over_processes():
    """`starmap` gets them in lists of pairs that do not depend on one another."""
    hashes = np.zeros((50, 32), np.uint8)
    hashes[25:] = 255
    lists = []
    pairs = duplicates.near_duplicates(
        hashes,
        lambda a, b: True,
        starmap=lambda same, pairs: lists.append(pairs) or [same(*pair) for pair in pairs],
    )
    assert [len(one) for one in lists if one] == [48] == [len(pairs)]


def test_group_numbers():
    """Pairs and equal keys connect images; groups are numbered by first appearance."""
    keys = ["", "b", "a", "", "b", "", "a", ""]
    pairs = [duplicates.Pair(0, 5, 3), duplicates.Pair(5, 6, 0)]
    np.testing.assert_array_equal(
        duplicates.group_numbers(8, pairs, keys), [0, 1, 0, 2, 1, 0, 0, 3]
    )
    np.testing.assert_array_equal(duplicates.group_numbers(3, [], ["", "", ""]), [0, 1, 2])
    assert duplicates.group_numbers(0, [], []).dtype == np.int64
    numbers = duplicates.group_numbers(
        300_000, [(k, k + 1) for k in range(0, 299_999, 2)], [""] * 300_000
    )
    np.testing.assert_array_equal(numbers, np.arange(300_000) // 2)
