"""Scores, targets and groups of any classifier, read from .npy files and checked."""

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.metrics.checks import check_arrays

_NPY_MAGIC = b"\x93NUMPY"


def load_scores(scores_path, targets_path) -> tuple[np.ndarray, np.ndarray]:
    """Reads two .npy files and checks them.

    Args:
      scores_path: float [N, L] in [0, 1], any float type; label i is column i.
      targets_path: [N, L] of 0 and 1, of any integer or float type, or bool.

    Returns:
      scores in the file's own float type, targets uint8, both [N, L].

    Raises:
      InputError: a file cannot be read, holds something else than asked for, or the two do not
        match.
    """
    scores = load_array(scores_path, "scores")
    targets = load_array(targets_path, "targets")
    check_arrays(scores, targets, scores_path, targets_path)
    return scores, targets.astype(np.uint8)


def load_groups(path, images: int) -> np.ndarray:
    """Reads int [images] from a .npy file.

    Raises:
      InputError: it cannot be read, or is something else.
    """
    groups = load_array(path, "groups")
    if groups.shape != (images,) or groups.dtype.kind not in "iu":
        raise InputError(
            f"{path}: {groups.dtype} of shape {groups.shape}, "
            f"expected a whole number for each of {images} images"
        )
    return groups


def load_array(path, what: str) -> np.ndarray:
    """Reads a .npy file.

    Args:
      path: of the file.
      what: it should hold, for messages.

    Raises:
      InputError: it cannot be read, or is no such file.
    """
    try:
        with open(path, "rb") as file:
            if file.read(len(_NPY_MAGIC)) != _NPY_MAGIC:
                raise InputError(f"{path}: not a .npy file ({what}); write it with numpy.save")
            file.seek(0)
            # A pickle can run any code: never.
            return np.load(file, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot read the {what}: {error.strerror or error}") from None
    except (ValueError, EOFError, MemoryError) as error:
        # NumPy writes "Object arrays cannot be loaded" of pickles, "cannot reshape" of a truncated
        # file.
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot read the {what}: {reason}; save it again") from None
