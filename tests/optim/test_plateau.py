"""Learning rates that fall on a plateau, against PyTorch's scheduler, and when training ends."""

import jax
import numpy as np
import pytest
import torch

from hpa_jax.optim.plateau import after_evaluation, has_stalled, init_progress


def followed(values, **settings):
    path = [init_progress()]
    for value in values:
        path.append(after_evaluation(path[-1], value, **settings))
    return path[1:]


@pytest.mark.parametrize("patience", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_the_learning_rate_is_that_of_pytorch(patience, seed):
    values = np.random.default_rng(seed).integers(0, 12, 60) / 16  # with equals among them
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    # PyTorch's patience counts the evaluations it tolerates; ours those after which it acts.
    plateau = {"mode": "max", "factor": 0.5, "patience": patience - 1, "threshold": 0.0, "eps": 0.0}
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **plateau)
    theirs = []
    for value in values:
        scheduler.step(value)
        theirs.append(optimizer.param_groups[0]["lr"])
    ours = [float(p.rate_scale) for p in followed(values, patience=patience, factor=0.5)]
    assert ours == theirs and theirs[-1] < 1


def test_without_patience_the_learning_rate_stays_and_stale_evaluations_are_counted():
    path = followed([0.3, 0.3, 0.2, 0.5, float("nan"), 0.4])
    assert [int(p.stale) for p in path] == [0, 1, 2, 0, 1, 2]
    assert all(p.rate_scale == 1 for p in path) and path[-1].best == np.float32(0.5)


def test_training_ends_after_so_many_evaluations_without_a_better_one():
    # Lowering the learning rate does not restart the count.
    path = followed([0.5, 0.4, 0.6, 0.6, 0.1], patience=1)
    assert [has_stalled(p, 2) for p in path] == [False, False, False, False, True]
    assert not has_stalled(path[-1], 0) and not has_stalled(None, 2)


def test_every_member_keeps_its_type():
    """A state that changed them would be compiled for again, and would not restore."""

    def kinds(progress):
        return [(leaf.dtype, leaf.shape) for leaf in jax.tree.leaves(progress)]

    better, worse = followed([0.5, 0.1], patience=1)
    assert kinds(better) == kinds(worse) == kinds(init_progress())
