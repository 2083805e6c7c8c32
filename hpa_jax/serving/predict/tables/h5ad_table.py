"""Embeddings as AnnData, for scanpy: `X` the embedding, `obsm["probabilities"]`, `obs`, `uns`.

`obs` has the decided labels: a column True or False for each, `label_names`, `labels`; `missing`
and `note`, `synthesized` where a channel was, and of a table of cells their places.
`uns["hpa_jax"]` has the model card, model.json as text, the names of the labels, their ids and
thresholds.
"""

import json
from pathlib import Path

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.files import complete_file
from hpa_jax.serving.decision import is_single_label
from hpa_jax.serving.predict.tables.content import Content, distinct_names
from hpa_jax.serving.predict.tables.hdf5_file import new_hdf5

BESIDE = ""
NEEDS = ("anndata", "h5py")
EMBEDDINGS = True

# AnnData's own.
_TAKEN = ("_index",)

# So many rows are in memory at a time.
_ROWS_A_BLOCK = 1024


def write(path: Path, content: Content) -> None:
    """Writes the table, completely or not at all.

    Raises:
      InputError: the net gives no embedding.
    """
    import anndata
    import pandas

    if not content.embedding_size:
        raise InputError(
            f"{path}: this net gives no embedding, which an h5ad is of; export it again, or choose "
            "--out=scores.parquet"
        )
    facts = content.first_columns[1:]
    columns = {name: [] for name in (*facts, "label_names", "labels")}
    extra = [[] for _ in content.extra]
    ids = []
    decided = np.zeros((content.count, len(content.names)), bool)
    for number, row in enumerate(content.rows()):
        ids.append(row.id)
        for values, value in zip(extra, row.extra, strict=True):
            values.append(value)
        decided[number] = row.decided
        for name in facts:
            columns[name].append(getattr(row, name))
        columns["label_names"].append(row.label_names)
        columns["labels"].append(row.label_ids)
    index = pandas.Index(ids, dtype=str)
    obs = pandas.DataFrame(columns, index=index, dtype=str)
    for number, (column, values) in enumerate(zip(content.extra, extra, strict=True)):
        obs.insert(number, column.name, pandas.Series(values, index, column.type))
    # A slash would be a group of the file.
    names = [name.replace("/", "|") for name in content.label_columns]
    for number, name in enumerate(distinct_names(names, [*obs.columns, *_TAKEN])):
        obs[name] = decided[:, number]
    var = content.feature_columns
    shell = anndata.AnnData(
        obs=obs, var=pandas.DataFrame(index=pandas.Index(var, dtype=str)), uns=_uns(content)
    )
    shell.strings_to_categoricals()
    with complete_file(path) as hidden, new_hdf5(hidden) as file:
        anndata.io.write_elem(file, "/", shell)
        # The arrays are written block by block: all embeddings at once may not fit the memory.
        for name in ("X", "raw"):
            if name in file:
                del file[name]
        shapes = {
            "X": (content.count, content.embedding_size),
            "obsm/probabilities": (content.count, len(content.names)),
        }
        for name, shape in shapes.items():
            array = file.create_dataset(name, shape, "<f4")
            array.attrs["encoding-type"] = "array"
            array.attrs["encoding-version"] = "0.2.0"
        _fill(file["X"], (row.embedding for row in content.scored()))
        _fill(file["obsm/probabilities"], (row.probabilities for row in content.scored()))


def _fill(array, rows) -> None:
    """Writes rows into an array of a file, block by block."""
    block = []
    start = 0
    for row in rows:
        block.append(row)
        if len(block) == _ROWS_A_BLOCK:
            array[start : start + len(block)] = np.stack(block)
            start += len(block)
            block = []
    if block:
        array[start:] = np.stack(block)


def _uns(content: Content) -> dict:
    """What the table says of itself. h5ad has no None and no list of objects: JSON stays text."""
    thresholds = {}
    # Without them the most probable label was decided, as the model's description says.
    if not is_single_label(content.description):
        fitted = np.array(content.description["thresholds"], np.float64)
        thresholds = {"thresholds": fitted}
    return {
        "hpa_jax": {
            "card": content.card,
            "model": json.dumps(content.description),
            "about": json.dumps(content.about),
            "net": content.net,
            "label_names": np.array(content.names, dtype=object),
            "label_ids": np.array(content.ids),
            **thresholds,
        }
    }


def is_ours(path: Path) -> bool:
    """Whether a file is such a table."""
    import h5py

    try:
        with h5py.File(path) as file:
            return "uns/hpa_jax" in file
    except OSError:
        return False
