"""Tiles of a U-Net: they cover an image evenly, and show nothing of where their edges are."""

import jax
import numpy as np
import pytest

from hpa_jax.errors import InputError
from hpa_jax.models import create_unet, init_variables
from hpa_jax.models.unet_tiles import edge_weights, tile_starts, tiled_outputs


def image_of(*shape):
    return np.random.default_rng(shape[0]).normal(size=shape).astype(np.float32)


def sides():
    for length in range(32, 800, 32):
        for tile in (32, 64, 96, 256):
            for overlap in range(0, tile, 32):
                yield length, min(tile, length), overlap


def test_tiles_cover_a_side_and_their_weights_sum_to_one():
    for length, tile, overlap in sides():
        starts = tile_starts(length, tile, overlap)
        assert starts[0] == 0 and starts[-1] + tile == length
        assert all(start % 32 == 0 for start in starts)
        assert all(np.diff(starts) > 0) and all(np.diff(starts) <= max(tile - overlap, 0))
        total = np.zeros(length)
        for start, weights in zip(starts, edge_weights(starts, tile, overlap), strict=True):
            assert weights.min() >= 0
            total[start : start + tile] += weights
            # At an edge that is not the image's, a quarter of the overlap has no weight.
            quarter = overlap // 4
            assert start == 0 or not weights[:quarter].any()
            assert start + tile == length or not weights[tile - quarter :].any()
        np.testing.assert_allclose(total, 1, atol=1e-6)


def test_a_net_that_sees_no_further_than_the_overlap_gives_the_complete_images_outputs():
    """Of positions on a grid of 32 px, as the last map of an encoder has them."""

    def apply(tiles):
        batch, height, width, _ = tiles.shape
        blocks = tiles.reshape(batch, height // 32, 32, width // 32, 32, -1).mean((2, 4))
        coarse = np.repeat(np.repeat(blocks, 32, 1), 32, 2)
        below = np.pad(tiles, ((0, 0), (0, 20), (0, 0), (0, 0)))[:, 20:]
        return {"image": tiles, "coarse": coarse[..., :1], "moved": below}

    image = image_of(333, 150, 3)
    filled = np.pad(image, ((0, 19), (0, 10), (0, 0)), mode="reflect")
    expected = apply(filled[np.newaxis])
    calls = []

    def counted(tiles):
        calls.append(tiles.shape)
        return apply(tiles)

    for batch in (1, 4):
        found = tiled_outputs(counted, image, tile=192, overlap=96, batch=batch)
        for name in expected:
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], expected[name][0, :333, :150], atol=1e-6)
    # Three tiles below each other; the width is less than a tile.
    assert calls == [(1, 192, 160, 3)] * 3 + [(4, 192, 160, 3)]


def test_tiles_that_do_not_fit_are_refused_in_one_line():
    image = np.zeros((64, 64, 1), np.float32)
    for tile, overlap, batch, message in (
        (100, 32, 1, "tiles of 100 px; give a multiple of 32 px"),
        (0, 0, 1, "tiles of 0 px"),
        (96, 20, 1, "an overlap of 20 px of tiles of 96 px; give a multiple of 32 px, 64 at most"),
        (64, 64, 1, "an overlap of 64 px of tiles of 64 px; .* 32 at most"),
        (64, 32, 0, "0 tiles at a time"),
    ):
        with pytest.raises(InputError, match=message) as refused:
            tiled_outputs(lambda tiles: {}, image, tile, overlap, batch)
        assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_unet_in_tiles_gives_what_it_gives_at_once():
    """On drawn weights, whose outputs depend on far pixels more than those of a trained net do.

    An output of this net depends on pixels up to 181 px away: the first overlap leaves out nearly
    as much at the edge of each tile, and the outputs are the same.
    """
    model = create_unet("densenet_tiny", outputs={"y": 2}, width=2, dtype="float32")
    image = image_of(827, 32, 3)
    variables = init_variables(model, (64, 64, 3), seed=0)
    apply = jax.jit(lambda images: model.apply(variables, images, train=False))
    complete = np.asarray(apply(image[np.newaxis])["y"][0])

    def error(tile, overlap):
        found = tiled_outputs(apply, image, tile, overlap)["y"]
        return np.abs(found - complete).max() / complete.std()

    assert error(832, 0) < 1e-5
    assert error(704, 672) < 1e-5
    assert error(512, 256) < 1e-3
    assert error(256, 0) > 0.1
