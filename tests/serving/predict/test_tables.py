"""The formats of a table hold the same, and other programs read them."""

import csv
import json
import subprocess
import sys

import anndata
import numpy as np
import pytest
from pyarrow import parquet
from support.small_disk import SmallDisk

from hpa_jax.errors import InputError
from hpa_jax.serving.predict.outputs import check_table, format_of
from hpa_jax.serving.predict.reference import read_reference
from hpa_jax.serving.predict.rows import Row
from hpa_jax.serving.predict.tables.content import Content

# Names as people choose them: of another column, of a formula, with a slash.
NAMES = ["Nucleoli", "id", "=cmd()", "Rods & rings", "ER/Golgi"]
DESCRIPTION = {
    "labels": [{"id": number, "name": name} for number, name in enumerate(NAMES)],
    "thresholds": [0.5, 0.4, 0.5, 0.3, 0.5],
    "empty": "no label",
}
IDS = ["plate 1/A.1", "=1+1", "ä\u202e"]
SCORES = np.array(
    [[0.9, 0.1, 0.5, 0.31, 0.2], [0.1, 0.1, 0.1, 0.1, 0.1], [0.1, 0.41, 0.6, 0.0, 1.0]], np.float32
)
EMBEDDINGS = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
DECIDED = [["Nucleoli", "Rods & rings"], [], ["id", "=cmd()", "ER/Golgi"]]
SUFFIXES = [".csv", ".parquet", ".npy", ".h5ad"]


def content(embeddings=True, description=DESCRIPTION):
    rows = []
    for image_id, scores, embedding in zip(IDS, SCORES, EMBEDDINGS, strict=True):
        rows.append(Row(image_id, "", scores, embedding if embeddings else None))
    return Content(
        description=description,
        card="# A card",
        net="digest",
        about={"missing": ["yellow"], "backend": "onnx", "layout": "a file a channel"},
        count=3,
        embedding_size=6 if embeddings else 0,
        scored=lambda: iter(rows),
        note_of=lambda row: "green is dark" if row.id == "=1+1" else "",
    )


def write(path, **options):
    kind = format_of(path)
    check_table(path, kind)
    kind.write(path, content(**options))
    assert kind.is_ours(path)
    return path


def test_csv(tmp_path):
    path = write(tmp_path / "a.csv", embeddings=False)
    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows[0] == [
        *("id", "missing", "note", "Nucleoli", "id (label)", "'=cmd()", "Rods & rings", "ER/Golgi"),
        *("label_names", "labels"),
    ]
    assert [row[0] for row in rows[1:]] == ["plate 1/A.1", "'=1+1", "ä\\u202e"]
    assert {row[1] for row in rows[1:]} == {"yellow"}
    assert [row[2] for row in rows[1:]] == ["", "green is dark", ""]
    found = np.array([row[3:8] for row in rows[1:]], np.float32)
    np.testing.assert_allclose(found, SCORES, rtol=1e-5)
    assert [row[8] for row in rows[1:]] == ["; ".join(names) for names in DECIDED]
    assert [row[9] for row in rows[1:]] == ["0 3", "", "1 2 4"]


def test_parquet(tmp_path):
    table = parquet.read_table(write(tmp_path / "a.parquet"))
    assert table["id"].to_pylist() == IDS
    assert table["label_names"].to_pylist() == DECIDED
    for number, name in enumerate(["Nucleoli", "id (label)", "=cmd()", "Rods & rings"]):
        np.testing.assert_array_equal(table[name].to_numpy(), SCORES[:, number])
    np.testing.assert_array_equal(np.stack(table["embedding"].to_pylist()), EMBEDDINGS)
    about = json.loads(table.schema.metadata[b"hpa_jax"])
    assert about["net"] == "digest" and about["model"]["thresholds"] == DESCRIPTION["thresholds"]


def test_npy(tmp_path):
    path = write(tmp_path / "a.npy", embeddings=False)
    found = np.load(path)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, SCORES)
    about = json.loads((tmp_path / "a.json").read_text())
    assert about["ids"] == IDS and about["label_names"] == NAMES
    assert about["labels"] == [[0, 3], [], [1, 2, 4]]


def test_h5ad(tmp_path):
    table = anndata.read_h5ad(write(tmp_path / "a.h5ad"))
    np.testing.assert_array_equal(table.X, EMBEDDINGS)
    np.testing.assert_array_equal(table.obsm["probabilities"], SCORES)
    assert list(table.obs_names) == IDS
    assert list(table.obs["label_names"]) == ["; ".join(names) for names in DECIDED]
    assert list(table.obs["Nucleoli"]) == [True, False, False]
    assert list(table.obs["ER|Golgi"]) == [False, False, True]
    about = table.uns["hpa_jax"]
    assert about["card"] == "# A card"
    assert json.loads(about["model"]) == DESCRIPTION
    # Names that are one without their slash, and one of AnnData's own.
    names = ["Nucleoli", "id", "_index", "ER|Golgi", "ER/Golgi"]
    labels = [{"id": number, "name": name} for number, name in enumerate(names)]
    other = write(tmp_path / "c.h5ad", description=DESCRIPTION | {"labels": labels})
    columns = ["Nucleoli", "id (label)", "_index (label)", "ER|Golgi", "ER|Golgi (label)"]
    assert list(anndata.read_h5ad(other).obs.columns[-5:]) == columns
    # As every program that goes on from here does.
    table[table.obs["Nucleoli"]].copy().write_h5ad(tmp_path / "b.h5ad")


def test_hdf5_does_not_crash_on_a_full_disk(tmp_path):
    program = (
        "import sys; from pathlib import Path\n"
        "from hpa_jax.serving.predict.tables.hdf5_file import new_hdf5\n"
        "try:\n"
        "    with new_hdf5(Path(sys.argv[1])) as file:\n"
        "        for number in range(20):\n"
        "            file.create_dataset(f'g{number}/x', data=[1.5] * 500)\n"
        "except OSError as error:\n"
        "    print(error.strerror)"
    )
    disk_folder = tmp_path / "disk"
    disk_folder.mkdir()
    with SmallDisk(disk_folder, megabytes=1) as disk:
        disk.fill(but=40000)
        command = [*disk.prefix, sys.executable, "-c", program, str(disk_folder / "a.h5")]
        found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stdout, found.stderr) == (0, "No space left on device\n", "")


def test_h5ad_needs_embeddings(tmp_path):
    with pytest.raises(InputError, match="gives no embedding"):
        write(tmp_path / "a.h5ad", embeddings=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_is_replaced_and_another_file_is_not(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}")
    write(path)
    path.write_bytes(b"mine,too\n1,2\n")
    if suffix == ".npy":
        path.with_suffix(".json").unlink()
    with pytest.raises(InputError, match="is there and is not written over"):
        write(path)
    assert path.read_bytes() == b"mine,too\n1,2\n"


@pytest.mark.parametrize("beside", ["a.json", "a.npy.rejects.csv"])
def test_what_lies_beside_a_table_is_not_written_over(tmp_path, beside):
    (tmp_path / beside).write_text("{}\n")
    with pytest.raises(InputError, match="is there and is not written over"):
        write(tmp_path / "a.npy", embeddings=False)
    assert (tmp_path / beside).read_text() == "{}\n"


@pytest.mark.parametrize("name", ["a.tsv", "a", "a.h5"])
def test_another_suffix_is_one_line(tmp_path, name):
    with pytest.raises(InputError, match="ends in .csv, .parquet, .npy, .h5ad"):
        format_of(tmp_path / name)


@pytest.mark.parametrize("suffix", [".h5ad", ".parquet"])
def test_tables_with_embeddings_are_read_as_references(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}")
    found = read_reference(path)
    assert (found.ids, found.net) == (IDS, "digest")
    assert found.label_names == ["; ".join(names) for names in DECIDED]
    np.testing.assert_array_equal(found.embeddings, EMBEDDINGS)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="cannot be read as a table of predict"):
        read_reference(path)


@pytest.mark.parametrize("name", ["a.csv", "missing.h5ad"])
def test_what_is_no_reference_is_one_line(tmp_path, name):
    with pytest.raises(InputError):
        read_reference(tmp_path / name)
