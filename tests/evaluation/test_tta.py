"""Test-time augmentation: each symmetry once, windows where they should be, memory of one image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hpa_jax.errors import InputError
from hpa_jax.evaluation import tta
from hpa_jax.parallel.mesh import batch_sharding, make_mesh, put_batch

SIZE, BATCH = 16, 8


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 4), np.uint8)


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(1).normal(0, 0.004, (SIZE, SIZE, 4, 3)).astype(np.float32)


def linear(variables, images):
    """Logits that see every pixel: no symmetry and no window leaves them as they are."""
    return jnp.einsum("bhwc,hwcl->bl", images.astype(jnp.float32), variables, precision="highest")


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def eight(images):
    """The symmetries of the square, made by NumPy."""
    for rotated in (np.rot90(images, k, axes=(1, 2)) for k in range(4)):
        yield from (rotated, rotated[:, :, ::-1])


def score(images, weights, **settings):
    return np.asarray(jax.jit(tta.make_tta_score_step(linear, **settings))(weights, images))


def numpy_score(images, weights):
    return sigmoid(np.einsum("bhwc,hwcl->bl", images.astype(np.float64), weights))


def test_symmetries_are_the_eight_each_once(images, weights):
    expected = np.mean([numpy_score(image, weights) for image in eight(images)], axis=0)
    np.testing.assert_allclose(score(images, weights, tta="symmetries"), expected, atol=2e-6)


def test_the_score_of_all_symmetries_does_not_change_with_one(images, weights):
    rotated = np.ascontiguousarray(np.rot90(images, axes=(1, 2)))
    settings = {"tta": "symmetries", "crops": 5, "crop_side": 0.75, "combine": "max"}
    np.testing.assert_allclose(
        score(rotated, weights, **settings), score(images, weights, **settings), atol=2e-5
    )
    assert np.abs(score(rotated, weights) - score(images, weights)).max() > 0.01


def test_images_that_are_not_square_have_four(weights):
    images = np.random.default_rng(2).integers(0, 256, (2, SIZE, 8, 4), np.uint8)
    expected = [images, images[:, ::-1], images[:, :, ::-1], images[:, ::-1, ::-1]]
    expected = np.mean([numpy_score(image, weights[:, :8]) for image in expected], axis=0)
    np.testing.assert_allclose(score(images, weights[:, :8], tta="symmetries"), expected, atol=2e-6)


def windows_by_hand(images, side):
    """Centre and corners with scipy: bilinear samples from one outermost pixel's middle to the
    other's.
    """
    from scipy.ndimage import map_coordinates

    free = (SIZE - 1) * (1 - side)
    for top, left in ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1)):
        y, x = (start * free + np.arange(SIZE) * side for start in (top, left))
        at = np.meshgrid(y, x, indexing="ij")
        planes = [
            [map_coordinates(i[..., c].astype(float), at, order=1) for c in range(4)]
            for i in images
        ]
        yield np.moveaxis(np.array(planes), 1, -1)


@pytest.mark.parametrize("combine", tta.COMBINE)
def test_windows_are_the_centre_and_the_corners(images, weights, combine):
    each = [numpy_score(window, weights) for window in windows_by_hand(images, 0.75)]
    expected = getattr(np, combine)(each, axis=0)
    got = score(images, weights, crops=5, crop_side=0.75, combine=combine)
    np.testing.assert_allclose(got, expected, atol=1e-4)
    central = score(images, weights, crops=1, crop_side=0.75, combine=combine)
    np.testing.assert_allclose(central, each[0], atol=1e-4)


def test_no_window_leaves_the_image(weights):
    white = np.full((1, SIZE, SIZE, 4), 255, np.uint8)
    for side in (0.875, 0.5, 0.3):
        np.testing.assert_allclose(
            score(white, weights, crops=5, crop_side=side), numpy_score(white, weights), atol=1e-4
        )


def test_windows_of_the_whole_side_are_the_image_itself(images, weights):
    np.testing.assert_allclose(
        score(images, weights, crops=5, crop_side=1.0), score(images, weights), atol=1e-6
    )


def test_symmetries_are_averaged_before_the_largest_window_counts(images, weights):
    each = [
        np.mean([numpy_score(v, weights) for v in eight(w)], axis=0)
        for w in windows_by_hand(images, 0.5)
    ]
    got = score(images, weights, tta="symmetries", crops=5, crop_side=0.5, combine="max")
    np.testing.assert_allclose(got, np.max(each, axis=0), atol=1e-4)


def test_a_sharded_batch_gives_the_same_and_stays_sharded(images, weights):
    mesh = make_mesh()
    settings = {"tta": "symmetries", "crops": 5, "combine": "max"}
    fn = jax.jit(tta.make_tta_score_step(linear, **settings), out_shardings=batch_sharding(mesh))
    batch = put_batch({"image": images}, mesh)["image"]
    np.testing.assert_allclose(
        np.asarray(fn(weights, batch)), score(images, weights, **settings), atol=1e-5
    )
    assert "all-gather" not in fn.lower(weights, batch).compile().as_text()


def test_forty_augmented_images_need_the_memory_of_one_window(images):
    """The working memory that the compiler plans, for a net with a map worth counting."""
    kernel = jnp.ones((3, 3, 4, 32)) / 100

    def net(variables, images):
        maps = jax.lax.conv_general_dilated(
            images.astype(jnp.float32),
            variables,
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return jnp.tanh(maps).mean((1, 2))

    def planned(**settings):
        fn = jax.jit(tta.make_tta_score_step(net, **settings))
        return fn.lower(kernel, images).compile().memory_analysis().temp_size_in_bytes

    assert planned(crops=5, tta="symmetries") < 2 * planned(crops=1)


@pytest.mark.parametrize(
    "wrong",
    [{"tta": "flips"}, {"crops": 3}, {"combine": "median"}, {"crop_side": 0.0}, {"crop_side": 1.2}],
)
def test_unknown_settings_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=f"config.evaluate.{next(iter(wrong))}="):
        tta.make_tta_score_step(linear, **wrong)


def test_settings_are_told_apart_in_words():
    names = {
        tta.describe(tta=name, crops=crops, crop_side=side, combine=combine)
        for name in tta.TTA
        for crops in tta.CROPS
        for side in (0.875, 0.5)
        for combine in tta.COMBINE
    }
    # combine says nothing of one window, crop_side and combine nothing of the whole image
    assert len(names) == 2 * (1 + 2 + 4) and tta.PLAIN in names
