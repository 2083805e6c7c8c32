"""The fit against PyTorch and scikit-learn: loss, updates, learning rate, average precision."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from hpa_jax.errors import InputError
from hpa_jax.probe import fit as fitting
from hpa_jax.probe.mlp import init_layers
from hpa_jax.probe.schedule import Schedule

ROWS = 50
FEATURES = 7
LABELS = 3


@pytest.fixture(scope="module")
def rows():
    """Features float32 [50, 7], and targets [50, 3] that two of them tell."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    targets = np.stack([features[:, 0] > 1, features[:, 1] > 0, rng.random(ROWS) < 0.2], axis=1)
    return features, targets.astype(np.uint8)


def focal(logits, targets):
    """The paper's equation 5, from probabilities, in float64."""
    score = torch.sigmoid(logits)
    of_truth = torch.where(targets > 0, score, 1 - score)
    weight = torch.where(targets > 0, 0.25, 0.75)
    return (-weight * (1 - of_truth) ** 2 * torch.log(of_truth)).mean()


def torch_net(layers):
    modules = []
    for layer in layers:
        inputs, outputs = layer["kernel"].shape
        linear = torch.nn.Linear(inputs, outputs)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(layer["kernel"].T.copy()))
            linear.bias.copy_(torch.from_numpy(layer["bias"]))
        modules += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*modules[:-1])


def test_the_loss_is_the_papers_over_the_rows_that_count():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(6, LABELS)).astype(np.float32)
    targets = (rng.random((6, LABELS)) < 0.5).astype(np.float32)
    mask = np.array([1, 1, 1, 1, 0, 0], np.float32)
    found = fitting.focal_loss(logits, targets, mask)
    expected = focal(torch.from_numpy(logits[:4]).double(), torch.from_numpy(targets[:4]))
    assert float(found) == pytest.approx(expected.item(), rel=1e-6)


def test_three_epochs_without_dropout_are_pytorchs(rows):
    """The same first weights, the same batches (the last one smaller), AdamW."""
    features, targets = rows
    batch_size = 16
    found = fitting.fit(
        features,
        targets,
        features,
        targets,
        learning_rate=1e-3,
        batch_size=batch_size,
        epochs=3,
        seed=5,
        dropout=0.0,
    )
    net = torch_net(init_layers(FEATURES, LABELS, 5))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    by_epoch = []
    for epoch in range(1, 4):
        order, mask = fitting.epoch_order(ROWS, batch_size, [5, epoch])
        for chosen, counts in zip(order, mask, strict=True):
            batch = chosen[counts > 0]
            optimizer.zero_grad()
            logits = net(torch.from_numpy(features[batch]))
            focal(logits, torch.from_numpy(targets[batch])).backward()
            optimizer.step()
        scores = torch.sigmoid(net(torch.from_numpy(features))).detach().numpy()
        by_epoch.append((average_precision_score(targets, scores, average="macro"), scores))
    expected, scores = by_epoch[found.epoch - 1]
    assert found.validation_score == pytest.approx(max(score for score, _ in by_epoch), abs=1e-6)
    assert found.validation_score == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(fitting.scores_of(found.layers, features), scores, atol=1e-5)
    assert (found.epochs, found.updates) == (3, 12)


def test_an_epoch_has_each_row_once_in_an_order_of_its_own():
    order, mask = fitting.epoch_order(ROWS, 16, [0, 1])
    assert order.shape == (4, 16)
    assert sorted(order[mask > 0]) == list(range(ROWS))
    other, _ = fitting.epoch_order(ROWS, 16, [0, 2])
    assert (order != other).any()
    assert fitting.epoch_order(3, 16, [0, 1])[0].shape == (1, 3)


@pytest.mark.slow
def test_a_seed_decides_the_fit_and_dropout_is_in_it(rows):
    features, targets = rows
    settings = {"learning_rate": 1e-3, "batch_size": 64, "epochs": 2}

    def fitted(seed, **more):
        found = fitting.fit(features, targets, features, targets, seed=seed, **settings, **more)
        return np.asarray(found.layers[0]["kernel"])

    np.testing.assert_array_equal(fitted(0), fitted(0))
    assert (fitted(0) != fitted(1)).any()
    assert (fitted(0) != fitted(0, dropout=0.0)).any()


def test_the_learning_rate_falls_when_pytorchs_does_and_the_fit_ends_after_20():
    rng = np.random.default_rng(3)
    rising = np.minimum(0.2 + 0.02 * np.arange(20), 0.4) + 0.001 * rng.random(20)
    scores = [*rising, *([rising.max() * (1 + 5e-5)] * 3), *np.full(19, 0.3)]
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1e-3)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", patience=4, factor=0.5
    )
    schedule = Schedule(1e-3)
    rates = []
    for score in scores:
        schedule.after_epoch(score)
        reference.step(score)
        rates.append(schedule.learning_rate)
        assert schedule.learning_rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        assert not schedule.has_ended()
    assert len(set(rates)) > 3
    schedule.after_epoch(0.3)
    assert schedule.has_ended()


def test_an_equal_score_is_the_best_anew():
    schedule = Schedule(1e-3)
    assert [schedule.after_epoch(score) for score in (0.5, 0.4, 0.5)] == [True, False, True]


def test_macro_average_precision_leaves_out_what_scikit_learn_calls_0():
    rng = np.random.default_rng(0)
    scores = rng.random((30, 4)).astype(np.float32)
    targets = (rng.random((30, 4)) < 0.4).astype(np.uint8)
    targets[:, 2] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        of_all = average_precision_score(targets, scores, average="macro")
    found = fitting.macro_average_precision(scores, targets)
    assert found == pytest.approx(of_all * 4 / 3, abs=1e-12)


@pytest.mark.slow
def test_a_fit_that_diverges_is_refused(rows):
    features, targets = rows
    with pytest.raises(InputError, match=r"not finite after epoch 1: lower config\.probe\.lr"):
        fitting.fit(
            # Finite, but no sum of them is.
            np.sign(features) * np.float32(3e38),
            targets,
            features,
            targets,
            learning_rate=1.0,
            batch_size=8,
            epochs=2,
            seed=0,
        )


def test_first_weights_are_as_pytorchs():
    layers = init_layers(400, LABELS, 0)
    assert [layer["kernel"].shape for layer in layers] == [(400, 512), (512, 256), (256, LABELS)]
    torch.manual_seed(0)
    for layer in layers[:2]:
        inputs, outputs = layer["kernel"].shape
        linear = torch.nn.Linear(inputs, outputs)
        for ours, theirs in ((layer["kernel"], linear.weight), (layer["bias"], linear.bias)):
            theirs = theirs.detach().numpy()
            assert ours.std() == pytest.approx(theirs.std(), rel=0.1)
            assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.01)
