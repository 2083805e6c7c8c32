"""The PyTorch peer of `learning.py` does what hpa_jax does: net, updates, averages, symmetries."""

import dataclasses
import json
from collections import OrderedDict

import hep2_recipes
import jax
import jax.numpy as jnp
import learning_peer as peer
import learning_peer_net as peer_net
import learning_recipes as recipes
import numpy as np
import optax
import pytest
import torch
from flax.traverse_util import flatten_dict, unflatten_dict

from hpa_jax.data import pipeline
from hpa_jax.data.loader import train_batches
from hpa_jax.errors import InputError
from hpa_jax.models import create_model, init_variables
from hpa_jax.optim.ema import init_ema, update_ema
from hpa_jax.optim.optimizer import make_optimizer, make_schedule
from hpa_jax.parallel.mesh import make_mesh, put_batch
from hpa_jax.pretrained import torch_densenet
from hpa_jax.recipes import parse
from hpa_jax.training.components import Setup

RUN = recipes.peer(recipes.QUICK, 3)


def configured(*flags):
    """The configuration that the peer gets for a quick run, with further flags."""
    return parse([f"--config={RUN.recipe}", "--workdir=none", *RUN.flags, *flags])[2]


def test_the_complete_recipe_is_accepted():
    peer.check(configured())


@pytest.mark.parametrize(
    "setting",
    [
        "model.head=hpa_densenet",
        "optim.name=adam",
        "train.loss=asymmetric",
        "augment.mixup=0.2",
        "augment.rotate_degrees=180.0",
        "data.channel_mix=hpa_densenet_iii",
    ],
)
def test_another_recipe_is_refused(setting):
    name = setting.partition("=")[0]
    with pytest.raises(InputError, match=f"config.{name}="):
        peer.check(configured(f"--config.{setting}"))


def test_same_net_from_the_same_distribution():
    section = dataclasses.replace(configured().model, name="densenet_small")
    net = peer_net.build_net(section, np.full(28, 0.1), num_labels=28, seed=3)
    model = create_model(
        "densenet_small", head="linear", num_labels=28, dropout=0.0, dtype="float32"
    )
    ours = jax.tree.leaves(init_variables(model, (32, 32, 4), 0)["params"])
    theirs = list(net.parameters())
    assert sum(p.numel() for p in theirs) == sum(leaf.size for leaf in ours)

    our_kernels = [(leaf.size, leaf.std()) for leaf in ours if leaf.ndim > 1]
    their_kernels = [(p.numel(), p.detach().std().item()) for p in theirs if p.ndim > 1]
    pairs = zip(sorted(their_kernels), sorted(our_kernels), strict=True)
    for (their_size, their_std), (our_size, our_std) in pairs:
        assert their_size == our_size
        if our_size > 1000:
            np.testing.assert_allclose(their_std, our_std, rtol=0.12)

    bias = net.class_layers.out[1].bias.detach()
    np.testing.assert_allclose(bias, np.log(0.1 / 0.9), rtol=1e-5)
    with torch.no_grad():
        assert net.eval()(torch.zeros(1, 4, 64, 64)).shape == (1, 28)


@pytest.mark.parametrize(
    ("schedule", "options"),
    [
        ("constant", "{}"),
        ("cosine_decay", "{}"),
        ("warmup_cosine_decay", "{}"),
        ("warmup_cosine_decay", '{"warmup_steps": 3}'),
    ],
)
def test_same_updates(schedule, options):
    """Learning rates, decay of kernels alone, clipping and AdamW: ten updates of two layers."""
    steps = 10
    optim = dataclasses.replace(configured().optim, schedule=schedule, schedule_options=options)
    assert optim.backbone_lr != 1
    rng = np.random.default_rng(0)
    layers = {"features": torch.nn.Linear(5, 4), "out": torch.nn.Linear(4, 3)}
    net = torch.nn.Sequential(OrderedDict(layers))
    optimizer, scheduler = peer_net.build_optimizer(net, optim, steps)
    params = dict(zip(("backbone", "head"), map(as_arrays, layers.values()), strict=True))
    learning_rate = make_schedule(optim.schedule, optim.lr, steps, optim.schedule_options)
    ours = make_optimizer(
        optim.name,
        learning_rate,
        b1=optim.b1,
        b2=optim.b2,
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        clip=optim.clip,
        backbone_lr=optim.backbone_lr,
    )
    state = ours.init(params)
    for step in range(steps):
        gradients = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), params)
        for layer, of_layer in zip(layers.values(), gradients.values(), strict=True):
            layer.weight.grad = torch.from_numpy(of_layer["kernel"].T.copy())
            layer.bias.grad = torch.from_numpy(of_layer["bias"].copy())
        torch.nn.utils.clip_grad_norm_(net.parameters(), optim.clip)
        theirs_now = scheduler.get_last_lr()[-1]
        np.testing.assert_allclose(theirs_now, float(learning_rate(step)), rtol=1e-5, atol=1e-9)
        optimizer.step()
        scheduler.step()
        updates, state = ours.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    for layer, of_layer in zip(layers.values(), params.values(), strict=True):
        theirs = as_arrays(layer)
        for name, array in of_layer.items():
            np.testing.assert_allclose(theirs[name], array, rtol=1e-4, atol=1e-6)


def as_arrays(layer):
    """A linear layer of PyTorch's as parameters of Flax's."""
    return {
        "kernel": layer.weight.detach().numpy().T.copy(),
        "bias": layer.bias.detach().numpy().copy(),
    }


def test_same_average():
    layer = torch.nn.Linear(2, 1, bias=False)
    theirs = peer_net.EmaNet(layer, 0.9)
    ours = init_ema({"params": {"w": layer.weight.detach().numpy().copy()}, "batch_stats": {}})
    for step in range(5):
        weights = [[step, step**2]]
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(weights))
        theirs.update(layer)
        ours = update_ema(ours, {"w": jnp.array(weights, jnp.float32)}, {}, decay=0.9)
    np.testing.assert_allclose(theirs.net.weight.detach(), ours.params["w"], rtol=1e-5)


def test_symmetries_of_the_square():
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    found = set()
    for which in range(8):
        transformed = peer_net.symmetries(image, torch.tensor([which]))
        found.add(tuple(transformed.flatten().tolist()))
    square = image[0, 0].numpy()
    expected = set()
    for side in (square, square[::-1]):
        for quarter in range(4):
            expected.add(tuple(np.rot90(side, quarter).flatten().tolist()))
    assert found == expected


@pytest.mark.slow
def test_the_peer_writes_scores_of_the_test_split(tmp_path, small_data):
    flags = (f"--config.data.data_dir={small_data}", "--config.data.name=synthetic_32")
    recipe = f"--config={RUN.recipe}"
    assert peer.main([recipe, f"--workdir={tmp_path}/run", *RUN.flags, *flags]) == 0
    one = np.load(tmp_path / "run" / "none" / "scores.npy")
    mean = np.load(tmp_path / "run" / "symmetries" / "scores.npy")
    targets = np.load(tmp_path / "run" / "none" / "targets.npy")
    assert one.shape == mean.shape == targets.shape == (18, 28)
    assert targets.any()
    assert 0 < one.min() and one.max() < 1
    assert not np.allclose(one, mean)
    last = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["step"] == RUN.steps

    # Without the flags of the recipe it is another one.
    assert peer.main([recipe, f"--workdir={tmp_path}/no", *flags, "--config.train.loss=bce"]) == 2


def variables_of(net, model, shape):
    """A net of the peer's as variables of ours."""
    state = {torch_densenet.canonical(key): value for key, value in net.state_dict().items()}
    state = {key.replace("classifier.1.", "classifier."): state[key].numpy() for key in state}
    keys = torch_densenet.CLASSIFIER
    arrays = {}
    for name, array in flatten_dict(init_variables(model, shape, 0), sep="/").items():
        key = keys[name] if name in keys else torch_densenet.key_of(name)
        theirs = state[key]
        if theirs.ndim > 1:
            # Outputs come last, and a 1x1 convolution is a product of matrices.
            theirs = np.moveaxis(theirs, (0, 1), (-1, -2)).reshape(array.shape)
        arrays[name] = theirs
        assert theirs.shape == array.shape
    return unflatten_dict(arrays, sep="/")


@pytest.mark.slow
def test_same_losses_from_the_same_weights(small_data, tmp_path):
    """The recipe of hep2.py, four steps without augmentation: batches, net, loss and updates."""
    run = hep2_recipes.peer(hep2_recipes.QUICK, 3)
    flags = (
        f"--config.data.data_dir={small_data}",
        "--config.data.name=synthetic_32",
        # No image of the small dataset has two of them.
        "--config.data.labels=(14,19,22,25)",
        "--config.data.batch_size=8",
        "--config.augment.flips=False",
        "--config.train.steps=4",
        "--config.train.log_every=1",
    )
    config = parse([f"--config={run.recipe}", "--workdir=none", *run.flags, *flags])[2]
    config = dataclasses.replace(config, data=pipeline.resolve_data(config.data))
    peer.train(config, tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    theirs = [json.loads(line)["loss"] for line in lines]

    mesh = make_mesh(jax.devices()[:1], 1)
    setup = Setup(config, mesh, num_steps=config.train.steps)
    net = peer_net.build_net(config.model, None, 4, config.train.seed, channels=1)
    state = setup.initial_state(variables_of(net, setup.model, setup.input_shape))
    dataset = pipeline.open_sources(config.data)
    order = pipeline.make_order(config.data, dataset, config.train.seed)
    batches = iter(train_batches(dataset, order, batch_size=8, threads=1))
    step = setup.make_train_step(dataset)
    ours = []
    for _ in range(config.train.steps):
        batch = next(batches)
        arrays = {name: batch[name] for name in ("image", "targets", "source")}
        state, metrics = step(state, put_batch(arrays, mesh))
        ours.append(float(metrics["loss"]))
    assert len(set(ours)) == len(ours)
    np.testing.assert_allclose(theirs, ours, rtol=2e-3)
