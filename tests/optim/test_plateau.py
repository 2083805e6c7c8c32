"""Rates that fall where the figure has stopped rising, against PyTorch's scheduler, and when training is to end."""

import jax
import numpy as np
import pytest
import torch

from hpa_jax.optim.plateau import after_evaluation, has_stalled, init_progress


def followed(figures, **settings):
    path = [init_progress()]
    for figure in figures:
        path.append(after_evaluation(path[-1], figure, **settings))
    return path[1:]


@pytest.mark.parametrize("patience", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_the_rate_is_that_of_pytorch(patience, seed):
    figures = np.random.default_rng(seed).integers(0, 12, 60) / 16  # with equals among them
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    # PyTorch's patience is the evaluations that it bears; ours those after which it lowers the rate.
    plateau = {"mode": "max", "factor": 0.5, "patience": patience - 1, "threshold": 0.0, "eps": 0.0}
    theirs, rates = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **plateau), []
    for figure in figures:
        theirs.step(figure)
        rates.append(optimizer.param_groups[0]["lr"])
    ours = [float(p.rate_scale) for p in followed(figures, patience=patience, factor=0.5)]
    assert ours == rates and rates[-1] < 1


def test_without_patience_the_rate_stays_and_stale_evaluations_are_counted():
    path = followed([0.3, 0.3, 0.2, 0.5, float("nan"), 0.4])
    assert [int(p.stale) for p in path] == [0, 1, 2, 0, 1, 2]
    assert all(p.rate_scale == 1 for p in path) and path[-1].best == np.float32(0.5)


def test_training_ends_after_so_many_evaluations_without_a_better_one():
    path = followed(
        [0.5, 0.4, 0.6, 0.6, 0.1], patience=1
    )  # lowering the rate does not begin the count anew
    assert [has_stalled(p, 2) for p in path] == [False, False, False, False, True]
    assert not has_stalled(path[-1], 0) and not has_stalled(None, 2)


def test_every_member_keeps_its_type():
    """A state that changed them would be compiled for again, and not restore."""
    kinds = [
        [(leaf.dtype, leaf.shape) for leaf in jax.tree.leaves(p)]
        for p in followed([0.5, 0.1], patience=1)
    ]
    assert (
        kinds[0]
        == kinds[1]
        == [(leaf.dtype, leaf.shape) for leaf in jax.tree.leaves(init_progress())]
    )
