"""Images sharded by rows: the losses and gradients of complete ones, on every mesh of eight."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hpa_jax.errors import InputError
from hpa_jax.models import (
    BACKBONES,
    create_model,
    create_unet,
    init_variables,
    split_multiple,
)
from hpa_jax.models.densenet import BLOCKS
from hpa_jax.models.depthwise import convolution_kernel_gradient
from hpa_jax.models.resnet import ResNet
from hpa_jax.optim import losses
from hpa_jax.parallel.mesh import (
    _place,
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
from hpa_jax.transforms.augment import augment_images
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


class Outcome(NamedTuple):
    loss: float
    gradients: dict
    batch_stats: dict
    text: str


def mesh_of(shape):
    return make_mesh(jax.devices()[: shape[0] * shape[1]], shape[1])


def outcome(net, shape, mesh_shape, head="pooled", augmentation=AUGMENTATION, block="plain"):
    """Loss, gradients and batch statistics of one step, and the program's text.

    The gradients are what plain descent with a learning rate of 1 subtracts.
    """
    mesh = mesh_of(mesh_shape)
    descent = optax.sgd(1.0)
    model = create_model(
        net,
        head=head,
        num_labels=LABELS,
        dropout=0.5,
        dtype="float32",
        block=block,
        mesh=mesh,
    )
    state = new_state(init_variables(model, (*shape[1:], 4), seed=0), descent)
    step = make_train_step(
        model,
        descent,
        losses.make_loss("bce"),
        seed=0,
        augmentation=augmentation,
        preparation=PREPARATION,
        mesh=mesh,
    )
    step = jax.jit(step, out_shardings=(replicated(mesh), replicated(mesh)))
    arguments = jax.device_put(state, replicated(mesh)), put_batch(batch_of(shape), mesh)
    program = step.lower(*arguments).compile()
    after, metrics = program(*arguments)
    return Outcome(
        loss=float(metrics["loss"]),
        gradients=jax.tree.map(lambda a, b: a - np.asarray(b), state.params, after.params),
        batch_stats=jax.tree.map(np.asarray, after.batch_stats),
        text=program.as_text(),
    )


def check_equal(sharded, complete):
    assert sharded.loss == pytest.approx(complete.loss, rel=1e-5)
    check_close(sharded.gradients, complete.gradients)
    check_close(sharded.batch_stats, complete.batch_stats)


def check_close(found, expected):
    leaves = jax.tree.leaves(expected)
    largest = max(np.abs(leaf).max() for leaf in leaves)
    for (path, leaf), wanted in zip(jax.tree.leaves_with_path(found), leaves, strict=True):
        # 1e-6 of the largest: some gradients are 0 but for rounding, such as those of the scale of
        # a map that a norm follows.
        tolerance = 2e-4 * np.abs(wanted).max() + 1e-6 * largest
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(leaf, wanted, atol=tolerance, rtol=0, err_msg=name)


@pytest.fixture(scope="module")
def complete():
    return outcome("densenet_tiny", (8, 256, 32), (1, 1))


@pytest.mark.parametrize("mesh_shape", MESHES, ids=str)
def test_losses_gradients_and_statistics_are_those_of_complete_images(complete, mesh_shape):
    sharded = outcome("densenet_tiny", (8, 256, 32), mesh_shape)
    check_equal(sharded, complete)
    # The first block's maps, a quarter of the image's side.
    maps = f"f32[{8 // mesh_shape[0]},{64 // mesh_shape[1]},8,"
    assert maps in sharded.text
    assert "all-gather" not in sharded.text


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in BLOCKS if block != "plain"])
def test_other_implementations_of_a_block_are_sharded_alike(complete, block):
    check_equal(outcome("densenet_tiny", (8, 256, 32), (2, 4), block=block), complete)


@pytest.mark.slow
def test_the_flatten_head_too():
    sharded = outcome("densenet_tiny", (4, 128, 32), (2, 4), head="hpa_densenet")
    check_equal(sharded, outcome("densenet_tiny", (4, 128, 32), (1, 1), head="hpa_densenet"))


@pytest.mark.slow
def test_resnet_too(monkeypatch):
    monkeypatch.setitem(BACKBONES, "resnet50", lambda **options: ResNet((1, 1, 1, 1), **options))
    settings = {"head": "linear", "augmentation": {"flips": True}}
    sharded = outcome("resnet50", (4, 128, 32), (2, 2), **settings)
    check_equal(sharded, outcome("resnet50", (4, 128, 32), (1, 1), **settings))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh_shape", "factor"), [((8, 1), 1), ((1, 8), 1), ((4, 2), 2), ((2, 4), 4)], ids=str
)
def test_why_the_rows_of_a_convnext_are_not_sharded(mesh_shape, factor):
    """With images sharded too, XLA sums the gradient of a depthwise kernel too often.

    Once it does not any more, ConvNeXt may have a SPLIT_MULTIPLE.
    """
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(2, 8, 16, 5, 6)).astype(np.float32)
    kernel = np.zeros((7, 7, 1, 6), np.float32)
    expected = np.asarray(jax.jit(convolution_kernel_gradient)(x, g, kernel))
    mesh = mesh_of(mesh_shape)
    images = batch_sharding(mesh)
    gradient = jax.jit(
        convolution_kernel_gradient,
        in_shardings=(images, images, replicated(mesh)),
        out_shardings=replicated(mesh),
    )
    np.testing.assert_allclose(gradient(x, g, kernel), factor * expected, atol=1e-3)


@pytest.mark.parametrize(
    "settings", [{"flips": True}, AUGMENTATION, AUGMENTATION | {"rotate_degrees": 0.0}]
)
def test_augmented_images_are_equal_and_cost_no_exchange(settings):
    images = batch_of((2, 64, 64))["image"]
    key = jax.random.key(3)
    one = jax.jit(lambda images: augment_images(images, key, **settings))(images)
    mesh = mesh_of((2, 4))
    layout = {"shard_rows": row_sharder(mesh), "replicate": image_replicator(mesh)}
    function = jax.jit(lambda images: augment_images(images, key, **layout, **settings))
    program = function.lower(jax.device_put(images, batch_sharding(mesh))).compile()
    augmented = program(jax.device_put(images, batch_sharding(mesh)))
    np.testing.assert_allclose(augmented, one, atol=1e-4)
    assert {shard.data.shape for shard in augmented.addressable_shards} == {(1, 16, 64, 4)}
    for exchange in ("all-gather", "all-to-all", "all-reduce", "permute("):
        assert exchange not in program.as_text()


def test_scores_are_equal():
    model = create_model("densenet_tiny", head="pooled", num_labels=LABELS, dtype="float32")
    variables = init_variables(model, (256, 32, 4), seed=0)
    images = batch_of((2, 256, 32))["image"]

    def scores_on(mesh):
        score = jax.jit(make_score_step(model, preparation=PREPARATION, mesh=mesh))
        return score(
            jax.device_put(variables, replicated(mesh)),
            jax.device_put(images, batch_sharding(mesh)),
        )

    one = scores_on(mesh_of((1, 1)))
    np.testing.assert_allclose(scores_on(mesh_of((1, 8))), one, rtol=1e-4, atol=1e-5)


def unet_on(mesh, function):
    """What a function of U-Net, variables and images gives on a mesh, and its program's text."""
    model = create_unet("densenet_tiny", outputs={"y": 2}, width=2, dtype="float32")
    variables = init_variables(model, (128, 32, 3), seed=0)
    images = np.random.default_rng(0).normal(size=(4, 128, 32, 3)).astype(np.float32)

    def sharded(variables, images):
        return function(model, variables, row_sharder(mesh)(images))

    arguments = (
        jax.device_put(variables, replicated(mesh)),
        jax.device_put(images, batch_sharding(mesh)),
    )
    program = jax.jit(sharded).lower(*arguments).compile()
    return jax.tree.map(np.asarray, program(*arguments)), program.as_text()


@pytest.mark.slow
def test_a_unets_outputs_are_those_of_complete_images():
    def evaluated(model, variables, images):
        return model.apply(variables, images, train=False)["y"]

    one, _ = unet_on(mesh_of((1, 1)), evaluated)
    sharded, text = unet_on(mesh_of((2, 2)), evaluated)
    np.testing.assert_allclose(sharded, one, atol=1e-5 * np.abs(one).max())
    # The maps at full resolution.
    assert "f32[2,64,32," in text and "all-gather" not in text


@pytest.mark.slow
@pytest.mark.parametrize("mesh_shape", [(4, 2), (2, 2), (1, 2)], ids=str)
def test_a_unets_gradients_and_statistics_too(mesh_shape):
    def trained(model, variables, images):
        def loss(params):
            outputs, updates = model.apply(
                variables | {"params": params}, images, train=True, mutable=["batch_stats"]
            )
            error = jnp.abs(outputs["y"] - images[..., :2])
            return jnp.mean(error), updates["batch_stats"]

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    ((loss, statistics), gradients), _ = unet_on(mesh_of((1, 1)), trained)
    ((found_loss, found_statistics), found), _ = unet_on(mesh_of(mesh_shape), trained)
    assert found_loss == pytest.approx(loss, rel=1e-5)
    check_close(found, gradients)
    check_close(found_statistics, statistics)


@pytest.mark.parametrize(
    "batch_size, space, expected",
    [(16, 0, 1), (8, 0, 1), (4, 0, 2), (12, 0, 2), (2, 0, 4), (1, 0, 8), (16, 4, 4)],
)
def test_no_more_devices_share_an_image_than_must(batch_size, space, expected):
    multiple = split_multiple("densenet121")
    assert space_for(batch_size, 512, multiple, jax.devices(), space) == expected


@pytest.mark.parametrize(
    "net, batch_size, height, space, message",
    [
        (
            "densenet121",
            3,
            512,
            1,
            "batch_size=3 cannot be sharded over 8 devices; choose a multiple of 8",
        ),
        (
            "densenet121",
            3,
            512,
            2,
            "batch_size=3 cannot be sharded over 4 groups of 2 devices; choose a multiple of 4",
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
            "1728 px cannot be sharded over .*space=8 .* multiple of 256 px, .*image_size=1792",
        ),
        (
            "densenet121",
            8,
            96,
            2,
            "96 px cannot be sharded over .*space=2 .* multiple of 64 px, .*image_size=128",
        ),
        (
            "resnet50",
            8,
            64,
            2,
            "64 px cannot be sharded over .*space=2 .* of 64 px, 128 at least; .*image_size=128",
        ),
        (
            "all_cnn",
            1,
            512,
            0,
            "space=8: .*model.name; choose a DenseNet or resnet50, or .* multiple of 8",
        ),
        ("inception_resnet_v2", 8, 512, 2, "space=2: .*model.name"),
        ("convnext_tiny", 8, 512, 2, "space=2: .*model.name"),
    ],
)
def test_uneven_shards_are_refused_by_name(net, batch_size, height, space, message):
    """Two rows of a last map are not a matter of speed: XLA's gradients are wrong then."""
    with pytest.raises(InputError, match=message):
        space_for(batch_size, height, split_multiple(net), jax.devices(), space)


@pytest.mark.parametrize("net", [net for net in BACKBONES if split_multiple(net)])
def test_a_height_that_can_be_sharded_is_shrunk_without_remainder(net):
    backbone = BACKBONES[net]()
    multiple = split_multiple(net)
    assert [backbone.feature_map_size(multiple * n) for n in (1, 3, 8)] == [1, 3, 8]


def test_neighbours_in_a_group_are_neighbours_in_the_torus():
    class Chip:
        def __init__(self, number, process, coords):
            self.id = number
            self.process_index = process
            self.coords = coords

    places = [(x, y, 0) for y in range(4) for x in range(2)]
    chips = [Chip(n, n // 4, place) for n, place in enumerate(places)]
    path = [chip.coords for chip in sorted(reversed(chips), key=_place)]
    assert sorted(path) == sorted(places)
    distances = np.abs(np.diff(path, axis=0)).sum(axis=1)
    assert set(distances) == {1}
