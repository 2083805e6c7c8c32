"""Fields whose height is cut over devices: the same losses and gradients as whole ones, on every mesh of eight."""

import jax
import numpy as np
import optax
import pytest

from hpa_jax.errors import InputError
from hpa_jax.models import BACKBONES, create_model, init_variables, split_multiple
from hpa_jax.models.densenet import BLOCKS
from hpa_jax.models.resnet import ResNet
from hpa_jax.optim import losses
from hpa_jax.parallel.mesh import (
    batch_sharding,
    image_replicator,
    make_mesh,
    put_batch,
    replicated,
    row_sharder,
    space_for,
)
from hpa_jax.training.state import new_state
from hpa_jax.training.steps import make_score_step, make_train_step
from hpa_jax.transforms.augment import augment
from hpa_jax.transforms.channel_mix import CHANNEL_MIXES

AUGMENTATION = {"flips": True, "rotate_degrees": 30.0, "scale": (0.7, 1.2), "shift": 0.1}
PREPARATION = {"channel_mix": CHANNEL_MIXES["rgby"], "mean": (0.1,) * 4, "std": (0.2,) * 4}
SLOW = pytest.mark.slow
MESHES = [pytest.param((8, 1), marks=SLOW), pytest.param((4, 2), marks=SLOW), (2, 4), (1, 8)]
LABELS = 5

pytestmark = pytest.mark.usefixtures("compiled_once")


def batch_of(shape):
    rng = np.random.default_rng(0)
    targets = (rng.random((shape[0], LABELS)) < 0.3).astype(np.uint8)
    return {"image": rng.integers(0, 256, (*shape, 4), np.uint8), "targets": targets}


def mesh_of(shape):
    return make_mesh(jax.devices()[: shape[0] * shape[1]], shape[1])


def outcome(net, shape, mesh_shape, head="pooled", augmentation=AUGMENTATION, block="plain"):
    """Loss, gradients (what plain descent of rate 1 takes off) and batch statistics of one step; the program's text."""
    mesh, rate = mesh_of(mesh_shape), optax.sgd(1.0)
    model = create_model(
        net, head=head, num_labels=LABELS, dropout=0.5, block=block, mesh=mesh, dtype="float32"
    )
    state = new_state(init_variables(model, (*shape[1:], 4), seed=0), rate)
    step = make_train_step(
        model,
        rate,
        losses.bce,
        seed=0,
        augmentation=augmentation,
        preparation=PREPARATION,
        mesh=mesh,
    )
    step = jax.jit(step, out_shardings=(replicated(mesh), replicated(mesh)))
    program = step.lower(
        jax.device_put(state, replicated(mesh)), put_batch(batch_of(shape), mesh)
    ).compile()
    after, figures = program(
        jax.device_put(state, replicated(mesh)), put_batch(batch_of(shape), mesh)
    )
    gradients = jax.tree.map(lambda a, b: a - np.asarray(b), state.params, after.params)
    return (
        float(figures["loss"]),
        gradients,
        jax.tree.map(np.asarray, after.batch_stats),
        program.as_text(),
    )


def check_equal(split, whole):
    assert split[0] == pytest.approx(whole[0], rel=1e-5)
    for part in (1, 2):
        largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(whole[part]))
        leaves = zip(
            jax.tree.leaves_with_path(split[part]), jax.tree.leaves(whole[part]), strict=True
        )
        for (path, found), expected in leaves:
            # 1e-6 of the largest: gradients that are 0 but for rounding, as of the scale of a map that a norm follows.
            scale = 2e-4 * np.abs(expected).max() + 1e-6 * largest
            np.testing.assert_allclose(
                found, expected, atol=scale, rtol=0, err_msg=jax.tree_util.keystr(path)
            )


@pytest.fixture(scope="module")
def whole():
    return outcome("densenet_tiny", (8, 256, 32), (1, 1))


@pytest.mark.parametrize("mesh_shape", MESHES, ids=str)
def test_losses_gradients_and_statistics_are_those_of_whole_fields(whole, mesh_shape):
    split = outcome("densenet_tiny", (8, 256, 32), mesh_shape)
    check_equal(split, whole)
    rows = f"f32[{8 // mesh_shape[0]},{64 // mesh_shape[1]},8,"  # the first block's maps, a quarter of the image's side
    assert rows in split[3]
    assert "all-gather" not in split[3]


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in BLOCKS if block != "plain"])
def test_a_block_computed_otherwise_is_cut_alike(whole, block):
    check_equal(outcome("densenet_tiny", (8, 256, 32), (2, 4), block=block), whole)


@pytest.mark.slow
def test_the_flatten_head_too():
    shape = (4, 128, 32)
    check_equal(
        *(outcome("densenet_tiny", shape, mesh, head="hpa_densenet") for mesh in ((2, 4), (1, 1)))
    )


@pytest.mark.slow
def test_resnet_too(monkeypatch):
    monkeypatch.setitem(BACKBONES, "resnet50", lambda **options: ResNet((1, 1, 1, 1), **options))
    shape = (4, 128, 32)
    check_equal(
        *(
            outcome("resnet50", shape, mesh, head="linear", augmentation={"flips": True})
            for mesh in ((2, 2), (1, 1))
        )
    )


@pytest.mark.parametrize(
    "settings", [{"flips": True}, AUGMENTATION, AUGMENTATION | {"rotate_degrees": 0.0}]
)
def test_augmented_images_are_equal_and_cost_no_exchange(settings):
    images, key = batch_of((2, 64, 64))["image"], jax.random.key(3)
    one = jax.jit(lambda images: augment(images, key, **settings))(images)
    mesh = mesh_of((2, 4))
    cut, whole = row_sharder(mesh), image_replicator(mesh)
    function = jax.jit(
        lambda images: augment(images, key, shard_rows=cut, replicate=whole, **settings)
    )
    program = function.lower(jax.device_put(images, batch_sharding(mesh))).compile()
    augmented = program(jax.device_put(images, batch_sharding(mesh)))
    np.testing.assert_allclose(augmented, one, atol=1e-4)
    assert {shard.data.shape for shard in augmented.addressable_shards} == {(1, 16, 64, 4)}
    assert not any(
        kind in program.as_text() for kind in ("all-gather", "all-to-all", "all-reduce", "permute(")
    )


def test_scores_are_equal():
    model = create_model("densenet_tiny", head="pooled", num_labels=LABELS, dtype="float32")
    variables = init_variables(model, (256, 32, 4), seed=0)
    images = batch_of((2, 256, 32))["image"]
    one, eight = (
        jax.jit(make_score_step(model, preparation=PREPARATION, mesh=mesh_of(shape)))(
            jax.device_put(variables, replicated(mesh_of(shape))),
            jax.device_put(images, batch_sharding(mesh_of(shape))),
        )
        for shape in ((1, 1), (1, 8))
    )
    np.testing.assert_allclose(eight, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "batch_size, space, expected",
    [(16, 0, 1), (8, 0, 1), (4, 0, 2), (12, 0, 2), (2, 0, 4), (1, 0, 8), (16, 4, 4)],
)
def test_no_more_devices_share_a_field_than_must(batch_size, space, expected):
    assert (
        space_for(batch_size, 512, split_multiple("densenet121"), jax.devices(), space) == expected
    )


@pytest.mark.parametrize(
    "net, batch_size, height, space, said",
    [
        (
            "densenet121",
            3,
            512,
            1,
            "batch_size=3 cannot be cut over 8 devices; choose a multiple of 8",
        ),
        (
            "densenet121",
            3,
            512,
            2,
            "batch_size=3 cannot be cut over 4 groups of 2 devices; choose a multiple of 4",
        ),
        (
            "densenet121",
            8,
            512,
            3,
            "space=3 does not divide the 8 devices .* choose 0 or one of 1, 2, 4, 8",
        ),
        (
            "densenet121",
            1,
            1728,
            0,
            "1728 px cannot be cut over .*space=8 .* multiple of 256 px, .*image_size=1792",
        ),
        (
            "densenet121",
            8,
            96,
            2,
            "96 px cannot be cut over .*space=2 .* multiple of 64 px, .*image_size=128",
        ),
        (
            "resnet50",
            8,
            64,
            2,
            "64 px cannot be cut over .*space=2 .* multiple of 64 px, 128 at least; .*image_size=128",
        ),
        (
            "all_cnn",
            1,
            512,
            0,
            "space=8: .*model.name, .* choose a DenseNet or resnet50, or .* multiple of 8",
        ),
        ("inception_resnet_v2", 8, 512, 2, "space=2: .*model.name"),
    ],
)
def test_what_cannot_be_cut_evenly_is_refused_by_name(net, batch_size, height, space, said):
    """Two rows of a last map are no question of speed: XLA then gives wrong gradients."""
    with pytest.raises(InputError, match=said):
        space_for(batch_size, height, split_multiple(net), jax.devices(), space)


@pytest.mark.parametrize("net", [net for net in BACKBONES if split_multiple(net)])
def test_a_height_that_can_be_cut_is_shrunk_without_remainder(net):
    backbone, multiple = BACKBONES[net](), split_multiple(net)
    assert [backbone.feature_map_size(multiple * n) for n in (1, 3, 8)] == [1, 3, 8]


def test_neighbours_in_a_group_are_neighbours_in_the_torus():
    class Chip:
        def __init__(self, number, process, coords):
            self.id, self.process_index, self.coords = number, process, coords

    places = [(x, y, 0) for y in range(4) for x in range(2)]
    chips = [Chip(n, n // 4, place) for n, place in enumerate(places)]
    from hpa_jax.parallel.mesh import _place

    path = [chip.coords for chip in sorted(reversed(chips), key=_place)]
    steps = [
        sum(abs(a - b) for a, b in zip(one, other, strict=True))
        for one, other in zip(path, path[1:], strict=False)
    ]
    assert sorted(path) == sorted(places) and set(steps) == {1}
