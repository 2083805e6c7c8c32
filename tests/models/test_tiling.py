"""Fields tile by tile: what each tile gives alone, gradients through all, attention as PyTorch has it, memory."""

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
from hpa_jax.models.tiling import pooled
from hpa_jax.optim import losses
from hpa_jax.training.state import new_state
from hpa_jax.training.steps import make_score_step, make_train_step
from hpa_jax.transforms.channel_mix import MIXES

TILE, LABELS, WIDTH = 32, 5, 23
IMAGES = np.random.default_rng(0).normal(size=(3, 64, 96, 4)).astype(np.float32)
PREPARATION = {"mix": MIXES["rgby"], "mean": (0.1,) * 4, "std": (0.2,) * 4}

pytestmark = pytest.mark.usefixtures("compiled_once")


def models():
    """The net over tiles, the same net on whole images, and variables that both take."""
    tiled, whole = (
        create_model(
            "densenet_tiny", head="attention", num_labels=LABELS, tile=tile, dtype="float32"
        )
        for tile in (TILE, 0)
    )
    variables = init_variables(tiled, IMAGES.shape[1:], seed=0)
    names = [
        sorted(flatten_dict(v["params"]["backbone"]))
        for v in (variables, init_variables(whole, (32, 32, 4), 0))
    ]
    assert names[0] == names[1]
    return tiled, whole, variables


def features_of(model, train):
    return jax.jit(
        lambda v, x: model.apply(v, x, train=train, method="features", mutable=["batch_stats"])
    )


def tiles(images):
    return {
        (y, x): images[:, TILE * y : TILE * (y + 1), TILE * x : TILE * (x + 1)]
        for y in (0, 1)
        for x in (0, 1, 2)
    }


@pytest.mark.parametrize("train", [False, True])
def test_a_place_of_the_map_is_what_its_tile_gives_alone_and_statistics_are_the_mean(train):
    tiled, whole, variables = models()
    found, updates = features_of(tiled, train)(variables, IMAGES)
    assert found.shape == (3, 2, 3, 2 * WIDTH) and found.dtype == jnp.float32
    statistics, of_one = [], features_of(whole, train)
    for (y, x), piece in tiles(IMAGES).items():
        alone, moved = of_one(variables, piece)
        np.testing.assert_allclose(found[:, y, x], pooled(alone), atol=1e-4)
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
    tiled, whole, variables = models()
    weights = np.random.default_rng(1).normal(size=(3, 2, 3, 2 * WIDTH)).astype(np.float32)

    @jax.jit
    @jax.grad
    def by_tiles(params):
        return jnp.vdot(
            features_of(tiled, True)(variables | {"params": params}, IMAGES)[0], weights
        )

    @jax.jit
    @jax.grad
    def by_one(params, piece, weights):
        return jnp.vdot(
            pooled(features_of(whole, True)(variables | {"params": params}, piece)[0]), weights
        )

    pieces = [by_one(variables["params"], t, weights[:, *at]) for at, t in tiles(IMAGES).items()]
    found, expected = (
        by_tiles(variables["params"]),
        jax.tree.map(lambda *leaves: sum(leaves), *pieces),
    )
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    for a, b in zip(
        jax.tree.leaves(found["backbone"]), jax.tree.leaves(expected["backbone"]), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-5 * largest)


def test_attention_is_pytorchs():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4, 2, 3, 20)).astype(np.float32)
    head = HEADS["attention"](LABELS, 0.5, 0.9, jnp.float32)
    shapes = jax.eval_shape(lambda: head.init(jax.random.key(0), x, train=False))
    p = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32) * 0.5, shapes["params"]
    )
    mean, var = rng.normal(size=20).astype(np.float32), rng.uniform(0.5, 2, 20).astype(np.float32)
    statistics = {"pool_norm": {"mean": mean, "var": var}}
    found = head.apply({"params": p, "batch_stats": statistics}, x, train=False)

    def linear(name, inputs):
        layer = {part: torch.tensor(p[name][part]) for part in p[name]}
        return torch.nn.functional.linear(inputs, layer["kernel"].T, layer.get("bias"))

    def torch_logits(field):  # one bag of places at a time, in the words of the paper's algorithm
        norm = torch.nn.BatchNorm1d(20, eps=1.001e-5).eval()
        norm.load_state_dict(
            {
                "weight": torch.tensor(p["pool_norm"]["scale"]),
                "bias": torch.tensor(p["pool_norm"]["bias"]),
                "running_mean": torch.tensor(mean),
                "running_var": torch.tensor(var),
                "num_batches_tracked": torch.tensor(1),
            }
        )
        h = torch.relu(linear("dense", norm(torch.tensor(field.reshape(-1, 20)))))
        scores = linear(
            "attention",
            torch.tanh(linear("attention_tanh", h)) * torch.sigmoid(linear("attention_gate", h)),
        )
        bags = torch.softmax(scores, dim=0).T @ h  # a representation of the field for each label
        kernel, bias = torch.tensor(p["logits"]["kernel"]), torch.tensor(p["logits"]["bias"])
        return torch.stack(
            [bags[label] @ kernel[:, label] + bias[label] for label in range(LABELS)]
        )

    with torch.no_grad():
        expected = torch.stack([torch_logits(field) for field in x]).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def temporaries(side, tile):
    """MiB that a training step needs beside its arguments, of one image of `side` px."""
    model = create_model(
        "densenet_tiny", head="attention", num_labels=LABELS, tile=tile, dtype="float32"
    )
    rate = optax.sgd(1.0)
    state = new_state(init_variables(model, (side, side, 4), seed=0), rate)
    step = make_train_step(
        model,
        rate,
        losses.bce,
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
    images = side * side * 4 * 4 / 2**20
    return memory.temp_size_in_bytes / 2**20, images


@pytest.mark.slow
def test_memory_is_that_of_one_tile():
    (small, a), (large, b), (whole, _) = (
        temporaries(128, 128),
        temporaries(512, 128),
        temporaries(512, 0),
    )
    assert large - small < 3 * (b - a)  # what grows is the image itself, not the maps
    assert large < whole / 4


def test_class_activation_maps_have_a_place_for_each_tile():
    tiled, _, variables = models()
    look = make_grad_cam(tiled, preparation=PREPARATION)
    fields = (IMAGES * 20 + 100).astype(np.uint8)
    found = [look(variables, fields, np.full(3, label)) for label in range(LABELS)]
    assert {maps.shape for maps, _ in found} == {(3, 2, 3)} and max(
        float(maps.max()) for maps, _ in found
    ) > 0
    scores = jax.jit(make_score_step(tiled, preparation=PREPARATION))(variables, fields)
    np.testing.assert_allclose(np.stack([logits for _, logits in found], axis=1), scores, atol=1e-4)


def test_what_tiles_cannot_do_is_refused_by_name():
    with pytest.raises(
        InputError,
        match="config.model.tile=32 goes with config.model.head='attention', not 'pooled'",
    ):
        create_model("densenet_tiny", head="pooled", num_labels=2, tile=32, dtype="float32")
    for tile, near in ((48, 96), (16, 96), (200, 200)):
        with pytest.raises(
            InputError, match=f"tile={tile} does not cut images of 100 x 100 px .*image_size={near}"
        ):
            check_size(
                create_model(
                    "densenet_tiny", head="attention", num_labels=2, tile=tile, dtype="float32"
                ),
                (100, 100, 4),
            )


@pytest.mark.slow
def test_a_run_over_tiles_is_trained_predicted_with_and_exported(run, small_run, tmp_path):
    trained = (f"--workdir={tmp_path}", "--config.data.image_size=64")
    done = run(
        *small_run,
        *trained,
        "--config.model.head=attention",
        "--config.model.tile=32",
        "--config.train.steps=2",
    )
    assert done.returncode == 0, done.stderr
    done = run(f"--workdir={tmp_path}", "--mode=export")
    assert done.returncode == 0 and "reproduced the golden output" in done.stdout, done.stderr
    refused = run(f"--workdir={tmp_path}", "--mode=predict", "--config.model.tile=0")
    assert refused.returncode == 2 and "config.model.tile=32, not 0" in refused.stderr
