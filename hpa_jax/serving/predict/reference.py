"""Embeddings of images that were predicted before: what `similar` looks for neighbours in."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpa_jax.errors import InputError, one_line
from hpa_jax.serving.predict.outputs import format_of
from hpa_jax.serving.predict.tables.content import NAME_SEPARATOR

_LONGEST_REASON = 120


class Reference(NamedTuple):
    """Images with their embeddings.

    Attributes:
      ids: of N images.
      label_names: those decided, as text, of each image.
      embeddings: float32 [N, E].
      net: a digest of the net's parameters.
      missing: channels that were black in all of them.
    """

    ids: list[str]
    label_names: list[str]
    embeddings: np.ndarray
    net: str
    missing: tuple[str, ...] = ()


def read_reference(path: Path) -> Reference:
    """Reads a table that `predict` wrote.

    Args:
      path: of an .h5ad or .parquet.

    Raises:
      InputError: there is no such table, it has no embeddings, no row, or is damaged.
    """
    readers = {".h5ad": _read_h5ad, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path}: give a table with embeddings, which predict writes as {' or '.join(readers)}"
        )
    if not path.is_file():
        raise InputError(f"{path} is no file; give a table that predict has written")
    # Says which package is missing.
    format_of(path)
    try:
        found = reader(path)
    except InputError:
        raise
    # HDF5, Arrow and AnnData have a type of error each.
    except Exception as error:
        reason = one_line(error, limit=_LONGEST_REASON)
        raise InputError(
            f"{path} cannot be read as a table of predict ({reason}); write it again"
        ) from None
    if not found.ids:
        raise InputError(f"{path} has no row to find neighbours among; give another table")
    if not np.isfinite(found.embeddings).all():
        raise InputError(f"{path} has embeddings that are no numbers; write it again")
    return found


def _read_h5ad(path: Path) -> Reference:
    import anndata

    table = anndata.read_h5ad(path)
    about = table.uns.get("hpa_jax")
    if about is None:
        raise InputError(f"{path} was not written by predict: it does not say by which net")
    if table.X is None or "label_names" not in table.obs:
        raise InputError(
            f"{path} has no X or no obs['label_names'], as predict writes them; give the table as "
            "it was written, or rows of it"
        )
    # Other programs store what is mostly zeros sparsely.
    embeddings = table.X.toarray() if hasattr(table.X, "toarray") else table.X
    facts = json.loads(about["about"])
    _refuse_cells(path, facts)
    return Reference(
        ids=list(map(str, table.obs_names)),
        label_names=list(map(str, table.obs["label_names"])),
        embeddings=np.asarray(embeddings, np.float32),
        net=str(about["net"]),
        missing=tuple(facts["missing"]),
    )


def _read_parquet(path: Path) -> Reference:
    from pyarrow import parquet

    from hpa_jax.serving.predict.tables.parquet_table import KEY

    schema = parquet.read_schema(path)
    text = (schema.metadata or {}).get(KEY)
    if text is None:
        raise InputError(
            f"{path} does not say by which net it was written; give the table as predict wrote it "
            "(other programs that save it anew leave that out)"
        )
    if "embedding" not in schema.names:
        raise InputError(
            f"{path} has no embeddings of predict; write it again as .h5ad or .parquet"
        )
    about = json.loads(text)
    _refuse_cells(path, about)
    table = parquet.read_table(path, columns=["id", "label_names", "embedding"])
    size = schema.field("embedding").type.list_size
    values = table["embedding"].combine_chunks().flatten().to_numpy()
    names = [NAME_SEPARATOR.join(labels) for labels in table["label_names"].to_pylist()]
    return Reference(
        ids=table["id"].to_pylist(),
        label_names=names,
        embeddings=values.reshape(-1, size).astype(np.float32),
        net=str(about["net"]),
        missing=tuple(about["missing"]),
    )


def _refuse_cells(path: Path, about: dict) -> None:
    """An image is no cell: their embeddings are not compared.

    Raises:
      InputError: the table is one of cells.
    """
    if about.get("cells"):
        raise InputError(f"{path} is a table of cells; give one of images, without --cells")
