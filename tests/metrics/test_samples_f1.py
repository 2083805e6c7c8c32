"""Samples F1 from whole counts, against scikit-learn."""

import jax
import numpy as np
import pytest
from sklearn.metrics import f1_score

from hpa_jax.metrics.classification import agreement_counts, samples_f1
from hpa_jax.parallel.mesh import make_mesh, put_batch


@pytest.mark.parametrize(
    "density", [0.02, 0.3]
)  # of the first, many fields bear nothing and are given nothing
def test_samples_f1_is_scikit_learn_s_whatever_the_fields_are_cut_into(density):
    rng = np.random.default_rng(0)
    predicted, targets = rng.random((2, 160, 28)) < density
    mask = np.arange(160) % 5 != 0
    count, mesh = jax.jit(agreement_counts), make_mesh()
    total = 0
    for part in np.split(np.arange(160), 4):
        arrays = put_batch({"p": predicted[part], "t": targets[part], "m": mask[part]}, mesh)
        total = total + np.asarray(count(arrays["p"], arrays["t"], arrays["m"]))
    assert total.sum() == mask.sum() and total.dtype == np.int32
    wanted = f1_score(targets[mask], predicted[mask], average="samples", zero_division=0)
    assert samples_f1(total) == pytest.approx(wanted, rel=1e-12)


def test_without_fields_it_is_0():
    assert samples_f1(np.zeros((3, 5), np.int32)) == 0
