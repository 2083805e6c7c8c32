"""The datasets of `channels.py`: real fields in five folds, and drawn ones."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import checkout  # noqa: F401
from checkout import REPOSITORY

from hpa_jax.errors import InputError

REAL = "real_fields"


def build_real(sample_dir: Path, data_dir: Path) -> None:
    """Builds the real fields into five folds, unless they are there. No field is in `test`.

    Raises:
      InputError: the sample is not there, or the builder refuses it.
    """
    manual_dir = sample_dir / "kaggle_512"
    if not manual_dir.is_dir():
        raise InputError(f"{manual_dir} is not there; give --sample_dir=DIR, its parent")
    flags = ["--config=kaggle_512", f"--manual_dir={manual_dir}", f"--name={REAL}"]
    # The rarest labels have one or two fields; here no label matters.
    _build(data_dir, [*flags, "--folds=5", "--test=0", "--allow_uneven_splits"])


def build_drawn(data_dir: Path, *, images: int, size: int) -> str:
    """Draws fields, unless they are there; returns the dataset's name.

    Args:
      data_dir: where datasets go.
      images: their number; a fifth is for testing.
      size: px a side.

    Raises:
      InputError: the builder refuses it.
    """
    name = f"drawn_{images}_{size}"
    flags = ["--config=synthetic", f"--images={images}", f"--size={size}", f"--name={name}"]
    _build(data_dir, [*flags, "--frequencies=real", "--allow_uneven_splits"])
    return name


def _build(data_dir: Path, flags: Sequence[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tfds_builder.hpa", *flags, f"--data_dir={data_dir}"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise InputError(f"{data_dir}: the dataset cannot be built, see above")
    print(done.stdout.splitlines()[0], file=sys.stderr)
