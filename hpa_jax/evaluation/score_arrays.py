"""Anyone's scores, targets and groups, read from .npy files and checked."""

from pathlib import Path

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.metrics.summary import check

_NPY_MAGIC = b"\x93NUMPY"


def load_scores(scores_path, targets_path) -> tuple[np.ndarray, np.ndarray]:
    """Reads two .npy files and checks them.

    Args:
      scores_path: float [N, L] in [0, 1], any float type; label i is column i.
      targets_path: [N, L] of 0 and 1, of any integer or float type, or bool.

    Returns:
      scores in the file's own float type, targets uint8, both [N, L].

    Raises:
      InputError: a file cannot be read, holds something else than asked for, or the two do not belong together.
    """
    scores, targets = _load(scores_path, "scores"), _load(targets_path, "targets")
    check(scores, targets, scores_path, targets_path)
    return scores, targets.astype(np.uint8)


def load_groups(path, fields: int) -> np.ndarray:
    """Reads int [fields] from a .npy file.

    Raises:
      InputError: it cannot be read, or is something else.
    """
    groups = _load(path, "groups")
    if groups.shape != (fields,) or groups.dtype.kind not in "iu":
        raise InputError(
            f"{path}: {groups.dtype} of shape {groups.shape}, wanted a whole number for each of {fields} fields"
        )
    return groups


def _load(path, what: str) -> np.ndarray:
    path = Path(path)
    try:
        with open(path, "rb") as file:
            magic = file.read(len(_NPY_MAGIC))
            if magic != _NPY_MAGIC:
                raise InputError(f"{path}: not a .npy file ({what}); write it with numpy.save")
            file.seek(0)
            array = np.load(file, allow_pickle=False)  # a pickle can run any code: never
    except OSError as error:
        raise InputError(f"{path}: cannot read the {what}: {error.strerror or error}") from None
    except (ValueError, EOFError, MemoryError) as error:
        # NumPy says "Object arrays cannot be loaded" of pickles, "cannot reshape" of a file that was cut short
        raise InputError(
            f"{path}: cannot read the {what}: {' '.join(str(error).split())}; save it again"
        ) from None
    return array
