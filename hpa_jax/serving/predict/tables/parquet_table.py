"""Scores and embeddings as parquet: the columns of the csv, and `embedding`, a list."""

import json
from itertools import islice
from pathlib import Path

import numpy as np

from hpa_jax.files import complete_file
from hpa_jax.serving.predict.tables.content import Content

BESIDE = ""
NEEDS = ("pyarrow",)
EMBEDDINGS = True

# Of a table's own metadata: what it says of itself.
KEY = b"hpa_jax"

_ROWS_A_GROUP = 1024


def write(path: Path, content: Content) -> None:
    """Writes the table, completely or not at all."""
    import pyarrow
    from pyarrow import parquet

    types = {
        str: pyarrow.string(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
    }
    fields = [pyarrow.field("id", pyarrow.string())]
    for column in content.extra:
        fields.append(pyarrow.field(column.name, types[column.type]))
    facts = content.first_columns[1:]
    fields += [pyarrow.field(name, pyarrow.string()) for name in facts]
    for name in content.label_columns:
        fields.append(pyarrow.field(name, pyarrow.float32()))
    fields.append(pyarrow.field("label_names", pyarrow.list_(pyarrow.string())))
    fields.append(pyarrow.field("labels", pyarrow.string()))
    if content.embedding_size:
        embedding = pyarrow.list_(pyarrow.float32(), content.embedding_size)
        fields.append(pyarrow.field("embedding", embedding))
    about = {"net": content.net, "model": content.description, **content.about}
    schema = pyarrow.schema(fields, metadata={KEY: json.dumps(about)})

    with complete_file(path) as hidden, parquet.ParquetWriter(hidden, schema) as writer:
        rows = content.rows()
        while group := list(islice(rows, _ROWS_A_GROUP)):
            columns = [pyarrow.array([row.id for row in group])]
            for number, column in enumerate(content.extra):
                values = [row.extra[number] for row in group]
                columns.append(pyarrow.array(values, types[column.type]))
            for name in facts:
                columns.append(pyarrow.array([getattr(row, name) for row in group]))
            probabilities = np.stack([row.probabilities for row in group])
            for column in probabilities.T:
                columns.append(pyarrow.array(np.ascontiguousarray(column)))
            names = [[content.names[k] for k in np.flatnonzero(row.decided)] for row in group]
            columns.append(pyarrow.array(names, pyarrow.list_(pyarrow.string())))
            columns.append(pyarrow.array([row.label_ids for row in group]))
            if content.embedding_size:
                values = np.concatenate([row.embedding for row in group])
                columns.append(
                    pyarrow.FixedSizeListArray.from_arrays(
                        pyarrow.array(values), content.embedding_size
                    )
                )
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))


def is_ours(path: Path) -> bool:
    """Whether a file is such a table."""
    from pyarrow import ArrowException, parquet

    try:
        return KEY in (parquet.read_schema(path).metadata or {})
    except ArrowException:
        return False
