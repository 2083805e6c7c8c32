"""Runs the TFDS builder in this process, quietly, with its errors as one line."""

import contextlib
import io
import os
from pathlib import Path
from typing import Any

from hpa_jax.errors import InputError
from tfds_builder.hpa.beam import one_line_errors
from tfds_builder.hpa.build import Build, Map, Plan


def run_tfds(
    wanted: Build,
    plan: Plan,
    config: tuple[str, str],
    data_dir: Path,
    read: Map,
    beam_options: Any,
) -> None:
    """Writes the shards of a planned build below `data_dir`.

    Args:
      wanted: what is to be built.
      plan: of it.
      config: name and description of the dataset.
      data_dir: passed to TFDS.
      read: maps over the images.
      beam_options: of `beam.options`, or None.

    Raises:
      InputError: TensorFlow is not installed, or an image is faulty.
      OSError: the file system refuses to write.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Nothing is computed here; with oneDNN on, TensorFlow writes a line to stderr.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    # Imported here, after the checks: TensorFlow takes seconds, and a worker must not load it.
    try:
        import tensorflow as tf
        import tensorflow_datasets as tfds
        from absl import logging

        from tfds_builder.hpa.hpa_dataset_builder import Builder
    except ModuleNotFoundError as error:
        raise InputError(
            f"building needs the package {error.name}; pip install 'hpa_jax[build]'"
        ) from None

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    name, description = config
    builder_config = name
    if name not in Builder.builder_configs:
        builder_config = tfds.core.BuilderConfig(name=name, description=description)
    errors = one_line_errors() if beam_options else contextlib.nullcontext()
    try:
        with contextlib.redirect_stdout(io.StringIO()), errors:
            builder = Builder(
                build=wanted, plan=plan, read=read, data_dir=data_dir, config=builder_config
            )
            options = tfds.download.DownloadConfig(beam_options=beam_options)
            builder.download_and_prepare(download_config=options)
    except Exception as error:
        cause = _root_cause(error)
        # A full disk comes as TensorFlow's error and not as OSError.
        if isinstance(cause, tf.errors.OpError):
            reason = cause.message.splitlines()[0].rpartition("; ")[2]
            raise OSError(None, reason) from None
        if isinstance(cause, OSError | InputError):
            raise cause from None
        raise
    finally:
        logging.set_verbosity(verbosity)
        tfds.enable_progress_bar()


def _root_cause(error: BaseException) -> BaseException:
    """TFDS wraps what its writer meets in types that say less."""
    while error.__cause__:
        error = error.__cause__
    return error
