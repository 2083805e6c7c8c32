"""The PyTorch peer of `learning.py` does what hpa_jax does: net, updates, averages, symmetries."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import learning_peer as peer
import learning_peer_net as peer_net
import learning_recipes as recipes
import numpy as np
import optax
import pytest
import torch

from hpa_jax.errors import InputError
from hpa_jax.models import create_model, init_variables
from hpa_jax.optim.ema import init_ema, update_ema
from hpa_jax.optim.optimizer import make_optimizer, make_schedule
from hpa_jax.recipes import parse

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
        "augment.rotate_degrees=30.0",
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


def test_same_updates():
    """Learning rate, decay of kernels alone, clipping and AdamW: ten updates of one layer."""
    steps = 10
    optim = dataclasses.replace(configured().optim, schedule_options='{"warmup_steps": 3}')
    rng = np.random.default_rng(0)
    layer = torch.nn.Linear(5, 4)
    optimizer, schedule = peer_net.build_optimizer(layer, optim, steps)
    params = {
        "kernel": layer.weight.detach().numpy().T.copy(),
        "bias": layer.bias.detach().numpy().copy(),
    }
    learning_rate = make_schedule(optim.schedule, optim.lr, steps, optim.schedule_options)
    ours = make_optimizer(
        optim.name,
        learning_rate,
        b1=optim.b1,
        b2=optim.b2,
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        clip=optim.clip,
    )
    state = ours.init(params)
    for step in range(steps):
        kernel = rng.normal(size=(5, 4)).astype(np.float32)
        bias = rng.normal(size=4).astype(np.float32)
        layer.weight.grad = torch.from_numpy(kernel.T.copy())
        layer.bias.grad = torch.from_numpy(bias.copy())
        torch.nn.utils.clip_grad_norm_(layer.parameters(), optim.clip)
        theirs_now = schedule.get_last_lr()[0]
        np.testing.assert_allclose(theirs_now, float(learning_rate(step)), rtol=1e-5, atol=1e-9)
        optimizer.step()
        schedule.step()
        updates, state = ours.update({"kernel": kernel, "bias": bias}, state, params)
        params = optax.apply_updates(params, updates)
    weight = layer.weight.detach().numpy().T
    np.testing.assert_allclose(weight, params["kernel"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(layer.bias.detach(), params["bias"], rtol=1e-4, atol=1e-6)


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
