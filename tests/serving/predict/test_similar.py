"""Neighbours by cosine, against SciPy."""

import re

import numpy as np
from scipy.spatial.distance import cdist

from hpa_jax.serving.predict import similar
from hpa_jax.serving.predict.reference import Reference
from hpa_jax.serving.predict.rows import Row


def made(count, seed, size=32):
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def test_neighbours_are_those_of_scipy(monkeypatch):
    monkeypatch.setattr(similar, "_ROWS_A_BLOCK", 7)
    queries = made(5, seed=0)
    embeddings = made(40, seed=1)
    # A copy, in another length, is as near as can be.
    embeddings[23] = 3 * queries[2]
    reference = Reference([f"r{k}" for k in range(40)], [""] * 40, embeddings, "net")
    rows = [Row(f"q{k}", "", np.zeros(1), query) for k, query in enumerate(queries)]
    cosines = 1 - cdist(queries.astype(float), embeddings.astype(float), "cosine")
    for number, one in enumerate(similar.nearest(rows, reference, 4)):
        right = np.argsort(-cosines[number], kind="stable")[:4]
        assert one.nearest == right.tolist()
        np.testing.assert_allclose(one.cosines, cosines[number][right], atol=1e-12)
    assert cosines[2].argmax() == 23


def test_fewer_than_asked_for_and_an_embedding_of_zeros():
    reference = Reference(["a", "b"], ["", ""], np.eye(2, 4, dtype=np.float32), "net")
    rows = [Row("q", "", np.zeros(1), np.zeros(4, np.float32))]
    (found,) = similar.nearest(rows, reference, 5)
    assert found.nearest == [0, 1] and found.cosines == [0, 0]


class NoPictures:
    def of(self, image_id):
        return ""

    def of_reference(self, image_id):
        return ""


def test_the_page_escapes_names_and_asks_for_nothing():
    reference = Reference(["<script>alert(1)</script>"], ["A & B"], np.ones((1, 2)), "net")
    found = [similar.Neighbours('"><img src=x>', [0], [0.5])]
    page = similar.similar_page.render(found, reference, NoPictures(), "t.h5ad")
    assert "<script" not in page and "<img" not in page
    assert "A &amp; B" in page and "0.500" in page
    assert not re.search(r"(https?:)?//", page)
