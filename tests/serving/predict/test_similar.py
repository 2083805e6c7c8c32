"""Neighbours by cosine, against SciPy; and the whole way from two folders to a csv and a page."""

import csv
import json
import re
import shutil

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from scipy.spatial.distance import cdist
from support.exports import tiny_export
from support.image_folders import write_images

from hpa_jax.errors import InputError
from hpa_jax.serving import __main__ as serving
from hpa_jax.serving.predict import similar
from hpa_jax.serving.predict.reference import Reference
from hpa_jax.serving.predict.rows import Row


def made(count, seed, size=32):
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def test_neighbours_are_those_of_scipy(monkeypatch):
    monkeypatch.setattr(similar, "_ROWS_A_BLOCK", 7)
    monkeypatch.setattr(similar, "_IMAGES_A_BLOCK", 2)
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


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return tiny_export(tmp_path_factory.mktemp("exports") / "export")


@pytest.mark.parametrize("suffix", ["h5ad", "parquet"])
def test_an_image_is_nearest_to_itself(export, tmp_path, suffix):
    write_images(tmp_path / "known", ids=[f"k{number}" for number in range(9)])
    table = tmp_path / f"known.{suffix}"
    assert serving.main(["predict", str(export), f"{tmp_path}/known", f"--out={table}"]) == 0
    # Two of them under other names.
    for path in (tmp_path / "known").glob("k[37]_*.png"):
        (tmp_path / "new").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "new" / path.name.replace("k", "new"))
    out = tmp_path / "similar.csv"
    words = ["similar", str(export), str(table), f"{tmp_path}/new", f"--out={out}", "--nearest=3"]
    assert serving.main([*words, f"--reference_images={tmp_path}/known"]) == 0
    with open(out, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first = [row for row in rows if row["rank"] == "1"]
    assert [(row["id"], row["nearest"]) for row in first] == [("new3", "k3"), ("new7", "k7")]
    assert all(float(row["cosine"]) > 0.99999 for row in first)
    assert len(rows) == 6
    page = (tmp_path / "similar.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/webp;base64,') == 2 * (1 + 3)
    # Again: both are replaced, a page of somebody else is not.
    assert serving.main(words) == 0
    (tmp_path / "similar.html").write_text("<p>mine</p>")
    with pytest.raises(InputError, match="similar.html is there and is not written over"):
        serving.main(words)


def test_a_table_that_cannot_be_compared_is_one_line(export, tmp_path, capsys):
    write_images(tmp_path / "known")
    table = tmp_path / "known.parquet"
    assert serving.main(["predict", str(export), f"{tmp_path}/known", f"--out={table}"]) == 0
    words = ["similar", str(export), str(table), f"{tmp_path}/known", f"--out={tmp_path}/a.csv"]
    # Embeddings with a channel black and without are compared, and that is told.
    assert serving.main([*words, "--missing=yellow"]) == 0
    assert "with all channels, and these images are compared without yellow" in (
        capsys.readouterr().err
    )
    read = parquet.read_table(table)
    parquet.write_table(read.slice(0, 0), table)
    with pytest.raises(InputError, match="has no row"):
        serving.main(words)
    place = read.schema.get_field_index("embedding")
    cut = pyarrow.array([row[:-1] for row in read["embedding"].to_pylist()])
    size = pyarrow.list_(pyarrow.float32(), len(cut[0]))
    parquet.write_table(read.set_column(place, "embedding", cut.cast(size)), table)
    with pytest.raises(InputError, match="has embeddings of .* values, and the net gives"):
        serving.main(words)
    # As if its parameters were others.
    about = json.loads(read.schema.metadata[b"hpa_jax"]) | {"net": "0" * 64}
    parquet.write_table(read.replace_schema_metadata({b"hpa_jax": json.dumps(about)}), table)
    with pytest.raises(InputError, match="was written with another net"):
        serving.main(words)
    # Another program that saves it anew.
    parquet.write_table(read.replace_schema_metadata(None), table)
    with pytest.raises(InputError, match="does not say by which net"):
        serving.main(words)


def test_images_that_cannot_be_read_are_listed(export, tmp_path, capsys):
    write_images(tmp_path / "known", ids=["a", "b"])
    table = tmp_path / "known.parquet"
    assert serving.main(["predict", str(export), f"{tmp_path}/known", f"--out={table}"]) == 0
    (tmp_path / "known" / "b_red.png").write_bytes(b"")
    words = ["similar", str(export), str(table), f"{tmp_path}/known", f"--out={tmp_path}/a.csv"]
    assert serving.main([*words, "--policy=skip"]) == 0
    assert "images left out since they cannot be read: 1, listed in" in capsys.readouterr().out
    assert "b_red.png" in (tmp_path / "a.csv.rejects.csv").read_text(encoding="utf-8")
