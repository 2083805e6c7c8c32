"""The search for near hashes: against all pairs, whichever channels were imaged."""

import numpy as np
import pytest

from tfds_builder.hpa.split import candidates, duplicates
from tfds_builder.hpa.split.perceptual import HASH_BYTES, channel_words, hash_distance

MASKS = ((0, 1, 2, 3), (1,), (0, 2, 3), (1, 2), ())


def near_hashes(rng, images, masks, bits):
    """Hashes of copies: up to `bits` are flipped for each channel, and channels are blank."""
    originals = rng.integers(0, 256, (images // 3, HASH_BYTES), dtype=np.uint8)
    hashes = originals[np.arange(images) % len(originals)]
    for row in hashes:
        flipped = rng.choice(256, rng.integers(0, 4 * bits + 9), replace=False)
        for bit in flipped:
            row[bit // 8] ^= np.uint8(1 << (bit % 8))
        blank = np.setdiff1d(np.arange(4), masks[rng.integers(len(masks))])
        row.reshape(4, 8)[blank] = 0
    return hashes


def all_near_pairs(hashes, bits):
    words = channel_words(hashes)
    apart, shared = hash_distance(words[:, None], words[None])
    near = (apart <= bits * shared) & (shared > 0)
    return set(map(tuple, np.argwhere(np.triu(near, 1)).tolist()))


def found_pairs(hashes, bits):
    words = channel_words(hashes)
    everything = np.arange(len(words))
    found = set()
    for a, b in candidates.near_pairs(words, everything, bits, everything.copy()):
        assert np.all(a < b)
        found |= set(zip(a.tolist(), b.tolist(), strict=True))
    return found


@pytest.mark.parametrize("masks", [MASKS[:1], MASKS[1:2], MASKS])
@pytest.mark.parametrize("bits", [0, 3, 8, 16])
def test_all_pairs_within_the_limit_are_found_and_no_others(masks, bits):
    hashes = near_hashes(np.random.default_rng(bits), 450, masks, bits)
    expected = all_near_pairs(hashes, bits)
    assert len(expected) > (20 if bits else 0)
    assert found_pairs(hashes, bits) == expected


@pytest.mark.parametrize("bands", [3, 4, 5, 9, 16])
def test_any_number_of_bands_finds_the_same(bands, monkeypatch):
    hashes = near_hashes(np.random.default_rng(1), 200, MASKS, 8)
    monkeypatch.setattr(candidates, "_number_of_bands", lambda images, bits: bands)
    monkeypatch.setattr(candidates, "_CHUNK", 7)  # far fewer than the pairs
    assert found_pairs(hashes, 8) == all_near_pairs(hashes, 8)


def test_more_images_are_looked_up_in_fewer_bands():
    numbers = [candidates._number_of_bands(images, 8) for images in (10, 10_000, 10**7)]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] > numbers[-1]
    for bits in range(17):
        assert 3 <= candidates._number_of_bands(1000, bits) < 32


def test_pairs_of_settled_images_are_left_out():
    hashes = np.zeros((5_000, HASH_BYTES), np.uint8)
    hashes[:, 8:16] = 170
    words = channel_words(hashes)
    settled = np.arange(5_000)
    number = 0
    for a, _ in candidates.near_pairs(words, settled.copy(), 8, settled):
        number += len(a)
        settled[:] = 0
    assert 0 < number < 5_000 * 200  # of twelve million


def test_connected_images_are_not_compared_again():
    rng = np.random.default_rng(0)
    hashes = np.repeat(rng.integers(0, 256, (200, HASH_BYTES), dtype=np.uint8), 3, axis=0)
    hashes = hashes.reshape(200, 3, -1).swapaxes(0, 1).reshape(600, -1).copy()
    hashes[:, 16:] = 0
    for row in hashes[200:]:
        for bit in rng.choice(128, rng.integers(0, 8), replace=False):
            row[bit // 8] ^= np.uint8(1 << (bit % 8))
    calls = []

    def same(a, b):
        calls.append((a, b))
        return a % 200 == b % 200

    pairs = duplicates.near_duplicates(hashes, same)
    assert len(pairs) == 400
    assert len(calls) < 440
    groups = duplicates.group_numbers(600, pairs, [""] * 600)
    np.testing.assert_array_equal(groups, np.arange(600) % 200)
    for a, b, distance in pairs:
        assert a < b
        assert distance == np.bitwise_count(hashes[a] ^ hashes[b]).sum() <= 16
    assert duplicates.near_duplicates(hashes, lambda a, b: False) == []
    assert duplicates.near_duplicates(hashes[:0], lambda a, b: True) == []


def test_an_image_that_looks_like_many_others_keeps_its_copy():
    """Forty images with a hash as near as the copy's turn out to show something else."""
    rng = np.random.default_rng(0)
    hashes = np.zeros((42, HASH_BYTES), np.uint8)
    hashes[:, :8] = rng.integers(0, 256, 8, dtype=np.uint8)
    for row in hashes[1:]:
        for bit in rng.choice(64, 8, replace=False):
            row[bit // 8] ^= np.uint8(1 << (bit % 8))
    pairs = duplicates.near_duplicates(hashes, lambda a, b: (a, b) == (0, 41))
    assert [(pair.a, pair.b) for pair in pairs] == [(0, 41)]
