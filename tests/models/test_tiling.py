"""Images tile by tile: features, statistics and gradients as of single tiles; memory; attention."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax.traverse_util import flatten_dict

from hpa_jax.errors import InputError
from hpa_jax.evaluation.grad_cam import make_grad_cam
from hpa_jax.models import check_size, create_model, init_variables
from hpa_jax.models.heads import HEADS
from hpa_jax.models.pooling import mean_and_max
from hpa_jax.optim import losses
from hpa_jax.training.state import new_state
from hpa_jax.training.steps import make_score_step, make_train_step
from hpa_jax.transforms.channel_mix import CHANNEL_MIXES

TILE = 32
LABELS = 5
FEATURES = 23
IMAGES = np.random.default_rng(0).normal(size=(3, 64, 96, 4)).astype(np.float32)
PREPARATION = {"channel_mix": CHANNEL_MIXES["rgby"], "mean": (0.1,) * 4, "std": (0.2,) * 4}

pytestmark = pytest.mark.usefixtures("compiled_once")


def tiny(tile, num_labels=LABELS):
    return create_model(
        "densenet_tiny", head="attention", num_labels=num_labels, tile=tile, dtype="float32"
    )


def models():
    """The net over tiles, the same net on complete images, and variables that both take."""
    tiled = tiny(TILE)
    complete = tiny(0)
    variables = init_variables(tiled, IMAGES.shape[1:], seed=0)
    others = init_variables(complete, (TILE, TILE, 4), seed=0)
    names = sorted(flatten_dict(variables["params"]["backbone"]))
    assert names == sorted(flatten_dict(others["params"]["backbone"]))
    return tiled, complete, variables


def features_of(model, train):
    def features(variables, images):
        return model.apply(
            variables, images, train=train, method="features", mutable=["batch_stats"]
        )

    return jax.jit(features)


def tiles():
    """The tiles of IMAGES, by row and column."""
    found = {}
    for row in (0, 1):
        for column in (0, 1, 2):
            top, left = TILE * row, TILE * column
            found[row, column] = IMAGES[:, top : top + TILE, left : left + TILE]
    return found


@pytest.mark.parametrize("train", [False, True])
def test_each_position_is_its_tile_alone_and_statistics_are_the_mean(train):
    tiled, complete, variables = models()
    found, updates = features_of(tiled, train)(variables, IMAGES)
    assert found.shape == (3, 2, 3, 2 * FEATURES) and found.dtype == jnp.float32
    statistics = []
    features_of_one = features_of(complete, train)
    for (row, column), tile in tiles().items():
        maps, moved = features_of_one(variables, tile)
        np.testing.assert_allclose(found[:, row, column], mean_and_max(maps), atol=1e-4)
        statistics.append(moved["batch_stats"]["backbone"])
    means = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *statistics)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        updates["batch_stats"]["backbone"],
        means,
    )
    before = variables["batch_stats"]["backbone"]["stem_norm"]["var"]
    assert np.array_equal(means["stem_norm"]["var"], before) != train


def test_gradients_go_through_every_tile():
    tiled, complete, variables = models()
    weights = np.random.default_rng(1).normal(size=(3, 2, 3, 2 * FEATURES)).astype(np.float32)

    @jax.jit
    @jax.grad
    def gradients_over_tiles(params):
        features, _ = features_of(tiled, True)(variables | {"params": params}, IMAGES)
        return jnp.vdot(features, weights)

    @jax.jit
    @jax.grad
    def gradients_of_one(params, tile, weights):
        maps, _ = features_of(complete, True)(variables | {"params": params}, tile)
        return jnp.vdot(mean_and_max(maps), weights)

    params = variables["params"]
    of_tiles = []
    for (row, column), tile in tiles().items():
        of_tiles.append(gradients_of_one(params, tile, weights[:, row, column]))
    expected = jax.tree.map(lambda *leaves: sum(leaves), *of_tiles)["backbone"]
    found = gradients_over_tiles(params)["backbone"]
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * largest), found, expected
    )


def test_attention_equals_pytorch():
    rng = np.random.default_rng(2)
    features = 20
    x = rng.normal(size=(4, 2, 3, features)).astype(np.float32)
    head = HEADS["attention"](LABELS, 0.5, 0.9, jnp.float32)
    shapes = jax.eval_shape(lambda: head.init(jax.random.key(0), x, train=False))
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32) * 0.5, shapes["params"]
    )
    mean = rng.normal(size=features).astype(np.float32)
    var = rng.uniform(0.5, 2, features).astype(np.float32)
    statistics = {"pool_norm": {"mean": mean, "var": var}}
    found = head.apply({"params": params, "batch_stats": statistics}, x, train=False)

    def linear(name, inputs):
        kernel = torch.tensor(params[name]["kernel"])
        bias = None
        if "bias" in params[name]:
            bias = torch.tensor(params[name]["bias"])
        return torch.nn.functional.linear(inputs, kernel.T, bias)

    norm = torch.nn.BatchNorm1d(features, eps=1.001e-5).eval()
    norm.load_state_dict(
        {
            "weight": torch.tensor(params["pool_norm"]["scale"]),
            "bias": torch.tensor(params["pool_norm"]["bias"]),
            "running_mean": torch.tensor(mean),
            "running_var": torch.tensor(var),
            "num_batches_tracked": torch.tensor(1),
        }
    )

    def torch_logits(image):
        """One bag of positions, in the words of the paper's algorithm."""
        bag = torch.tensor(image.reshape(-1, features))
        h = torch.relu(linear("dense", norm(bag)))
        gate = torch.sigmoid(linear("attention_gate", h))
        scores = linear("attention", torch.tanh(linear("attention_tanh", h)) * gate)
        bags = torch.softmax(scores, dim=0).T @ h  # a representation of the image for each label
        kernel = torch.tensor(params["logits"]["kernel"])
        bias = torch.tensor(params["logits"]["bias"])
        return (bags * kernel.T).sum(dim=1) + bias

    with torch.no_grad():
        expected = torch.stack([torch_logits(image) for image in x]).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def memory_of_step(side, tile):
    """MiB that a training step needs beside its arguments, and MiB of its image of `side` px."""
    model = tiny(tile)
    optimizer = optax.sgd(1.0)
    state = new_state(init_variables(model, (side, side, 4), seed=0), optimizer)
    step = make_train_step(
        model,
        optimizer,
        losses.make_loss("bce"),
        seed=0,
        augmentation={"flips": False},
        preparation=PREPARATION,
        average_decay=0.0,
    )
    batch = {
        "image": np.zeros((1, side, side, 4), np.uint8),
        "targets": np.zeros((1, LABELS), np.uint8),
    }
    memory = jax.jit(step).lower(state, batch).compile().memory_analysis()
    image_bytes = side * side * 4 * 4
    return memory.temp_size_in_bytes / 2**20, image_bytes / 2**20


@pytest.mark.slow
def test_memory_is_that_of_one_tile():
    small, small_image = memory_of_step(128, 128)
    large, large_image = memory_of_step(512, 128)
    complete, _ = memory_of_step(512, 0)
    # What grows is the image itself, not the feature maps.
    assert large - small < 3 * (large_image - small_image)
    assert large < complete / 4


def test_grad_cam_has_a_position_for_each_tile():
    tiled, _, variables = models()
    grad_cam = make_grad_cam(tiled, preparation=PREPARATION)
    images = (IMAGES * 20 + 100).astype(np.uint8)
    found = [grad_cam(variables, images, np.full(3, label)) for label in range(LABELS)]
    assert {maps.shape for maps, _ in found} == {(3, 2, 3)}
    assert max(float(maps.max()) for maps, _ in found) > 0
    scores = jax.jit(make_score_step(tiled, preparation=PREPARATION))(variables, images)
    np.testing.assert_allclose(np.stack([logits for _, logits in found], axis=1), scores, atol=1e-4)


def test_what_tiles_cannot_do_is_refused_by_name():
    message = "config.model.tile=32 goes with config.model.head='attention', not 'pooled'"
    with pytest.raises(InputError, match=message):
        create_model("densenet_tiny", head="pooled", num_labels=2, tile=32)
    for tile, nearest in ((48, 96), (16, 96), (200, 200)):
        message = f"tile={tile} does not divide images of 100 x 100 px .*image_size={nearest}"
        with pytest.raises(InputError, match=message):
            check_size(tiny(tile), (100, 100, 4))


@pytest.mark.slow
def test_a_run_over_tiles_is_trained_predicted_with_and_exported(run, small_run, tmp_path):
    workdir = f"--workdir={tmp_path}"
    done = run(
        *small_run,
        workdir,
        "--config.data.image_size=64",
        "--config.model.head=attention",
        "--config.model.tile=32",
        "--config.train.steps=2",
    )
    assert done.returncode == 0, done.stderr
    # A net of tiles cannot be written as ONNX.
    done = run(workdir, "--mode=export", "--config.export.onnx=none")
    assert done.returncode == 0, done.stderr
    assert "reproduced the golden output" in done.stdout
    refused = run(workdir, "--mode=predict", "--config.model.tile=0")
    assert refused.returncode == 2
    assert "config.model.tile=32, not 0" in refused.stderr
