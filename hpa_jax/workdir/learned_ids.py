"""The images that a run learns from, by the hashes of their Ids."""

import hashlib
import io
from pathlib import Path

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.files import write_atomically
from hpa_jax.workdir.config_file import read_record

LEARNED_IDS = "learned_ids.npy"


def read_learned_ids(workdir: Path) -> np.ndarray | None:
    """The `id_hashes` of the images that the run learns from, uint64; None in format 1.

    Raises:
      InputError: as of `read_config`, or the file is missing or is not the run's.
    """
    record = read_record(workdir)
    if not record.learned_ids:
        return None
    path = workdir / LEARNED_IDS
    try:
        hashes = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        fault = ""
        if digest_of_ids(hashes) != record.learned_ids:
            fault = "its SHA-256 is another"
    except OSError as error:
        fault = error.strerror or str(error)
    except Exception as error:  # NumPy raises many kinds where bytes are damaged
        fault = f"damaged: {type(error).__name__}"
    if fault:
        raise InputError(
            f"{path} is not what training wrote ({fault}); start the run again with its data, "
            "and it is written anew"
        )
    return hashes


def write_learned_ids(workdir: Path, hashes: np.ndarray) -> None:
    """Writes `hashes`, uint64 [N], completely or not at all."""
    file = io.BytesIO()
    np.save(file, hashes.astype("<u8"), allow_pickle=False)
    write_atomically(workdir / LEARNED_IDS, file.getvalue())


def digest_of_ids(hashes: np.ndarray) -> str:
    """SHA-256 of the values of `hashes`, uint64 [N], as 64 hex digits."""
    return hashlib.sha256(hashes.astype("<u8").tobytes()).hexdigest()
