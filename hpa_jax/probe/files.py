"""Examples from anyone's arrays: embeddings as .npy or AnnData, all else as .npy."""

from pathlib import Path

import numpy as np

from hpa_jax.config import Probe
from hpa_jax.data.label_list import column_names
from hpa_jax.errors import InputError, one_line
from hpa_jax.evaluation.score_arrays import load_array, load_groups
from hpa_jax.probe.examples import EMBEDDING, SPLITS, Examples
from hpa_jax.probe.splits import divide

_LONGEST_REASON = 120


def read_examples(settings: Probe) -> Examples:
    """Reads the arrays that the section names.

    Raises:
      InputError: a file cannot be read, or holds something else than asked for; the files do not
        match; or a package to read them is missing.
    """
    if not settings.targets:
        raise InputError(
            "config.probe.targets=FILE.npy is missing: 0/1 [N, L], a row for each embedding"
        )
    features = _read_features(Path(settings.embeddings))
    targets = _read_targets(settings.targets, features, settings.embeddings)
    groups = np.arange(len(features))
    if settings.groups:
        groups = load_groups(settings.groups, len(features)).astype(np.int64)
    if settings.splits:
        splits = _read_splits(settings.splits, len(features))
    else:
        splits = divide(groups, settings.seed)
    labels = targets.shape[1]
    names = tuple(f"label_{number}" for number in range(labels))
    if settings.labels:
        names = column_names(settings.labels, labels, "--config.probe.labels")
    return Examples({EMBEDDING: features}, targets, groups, splits, names)


def _read_features(path: Path) -> np.ndarray:
    if path.suffix.lower() == ".h5ad":
        features = _read_anndata(path)
    else:
        features = load_array(path, "embeddings")
    if features.ndim != 2 or features.dtype.kind not in "fiu" or not features.size:
        raise InputError(
            f"{path}: {features.dtype} of shape {features.shape}, expected numbers [N, F], an "
            "embedding in each row"
        )
    # What does not fit becomes infinite, and is refused with its row.
    with np.errstate(over="ignore"):
        return features.astype(np.float32)


def _read_anndata(path: Path) -> np.ndarray:
    try:
        import anndata
    except ImportError as error:
        raise InputError(
            f"{path} needs the package anndata ({one_line(error, limit=_LONGEST_REASON)}): "
            "pip install 'hpa_jax[tables]', or give the embeddings as .npy"
        ) from None
    if not path.is_file():
        raise InputError(f"{path} is no file; give an .h5ad whose X is the embedding, or a .npy")
    try:
        table = anndata.read_h5ad(path)
    # HDF5 and AnnData have a type of error each.
    except Exception as error:
        reason = one_line(error, limit=_LONGEST_REASON)
        raise InputError(f"{path} cannot be read as AnnData ({reason}); write it again") from None
    if table.X is None:
        raise InputError(f"{path} has no X, which is where the embedding is looked for")
    # Other programs store what is mostly zeros sparsely.
    return np.asarray(table.X.toarray() if hasattr(table.X, "toarray") else table.X)


def _read_targets(path: str, features: np.ndarray, embeddings: str) -> np.ndarray:
    targets = load_array(path, "targets")
    is_table = targets.ndim == 2 and targets.size and targets.dtype.kind in "fiub"
    if not is_table or not np.isin(targets, (0, 1)).all():
        raise InputError(
            f"{path}: {targets.dtype} of shape {targets.shape}, expected 0 and 1 [N, L], a column "
            "for each label"
        )
    if len(targets) != len(features):
        raise InputError(
            f"{path} has {len(targets)} rows and {embeddings} has {len(features)}; give the "
            "targets of these embeddings, in their order"
        )
    return targets.astype(np.uint8)


def _read_splits(path: str, rows: int) -> np.ndarray:
    splits = load_array(path, "splits")
    fits = splits.shape == (rows,) and splits.dtype.kind in "iu"
    if not fits or not np.isin(splits, range(len(SPLITS))).all():
        meaning = ", ".join(f"{number} {name}" for number, name in enumerate(SPLITS))
        raise InputError(
            f"{path}: {splits.dtype} of shape {splits.shape}, expected a whole number for each of "
            f"{rows} embeddings: {meaning}"
        )
    return splits.astype(np.int8)
