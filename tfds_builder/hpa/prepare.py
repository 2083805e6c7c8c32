"""Builds a dataset so that it is there whole, with its indexes, or not at all.

TFDS writes into a hidden folder of the same file system; shards are indexed there (each record's CRC is checked on
the way); then the folder of the version is renamed into its place, which is one step. Nothing that a reader could
take for a dataset exists before. A lock keeps a second build of the same dataset out; the kernel takes it from a
killed process, so whoever holds it may remove what such a one has left.
"""

import contextlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from etils import epath
from tqdm import tqdm

from hpa_jax.data.records import Records, write_index
from hpa_jax.errors import InputError
from hpa_jax.files import exclusive_lock
from tfds_builder.hpa import planning
from tfds_builder.hpa.beam import Beam, one_line
from tfds_builder.hpa.planning import Build, Plan
from tfds_builder.hpa.pool import Pool

VERSION = "2.0.0"


def folder(data_dir: Path, name: str) -> Path:
    """Where the finished dataset lies."""
    return data_dir / "hpa" / name / VERSION


def build(
    wanted: Build,
    name: str,
    description: str,
    data_dir: Path,
    workers: int,
    beam_options: Any = None,
) -> Plan | None:
    """Builds `hpa/<name>` under `data_dir`, with `beam_options` (of `beam.options`) on their runner.

    Returns:
      what was built, or None if it was there already with the same settings.

    Raises:
      InputError: a faulty field, other settings than those of the dataset that is there, or no writing.
    """
    final = folder(data_dir, name)
    if is_there(final, wanted):
        return None
    with _writing_to(data_dir), _locked(data_dir, name), Pool(workers) as pool:
        if is_there(final, wanted):  # another build has finished since
            return None
        half = data_dir / f".hpa_{name}.incomplete"
        shutil.rmtree(half, ignore_errors=True)  # left by a killed build
        try:
            survey_map = Beam(beam_options, epath.Path(half / "beam")).map if beam_options else None
            plan = planning.plan(wanted, pool.map, _bar, survey_map)
            with _bar([place for part in plan.parts.values() for place in part], "writing") as bar:
                config = name, description
                _run_tfds(
                    wanted,
                    plan,
                    config,
                    half,
                    lambda task, items: _counted(pool.map(task, items), bar),
                    beam_options,
                )
            _index(folder(half, name))
            planning.write_tables(plan, folder(half, name), wanted.source.manual_dir)
            final.parent.mkdir(parents=True, exist_ok=True)
            _copy_default_config(half, data_dir)
            os.rename(folder(half, name), final)
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return plan


def is_there(final: Path, build: Build) -> bool:
    """Whether the dataset is there with the build's settings; InputError if it is there with others."""
    try:
        if not final.exists():
            return False
        found = dict(json.loads((final / "metadata.json").read_text())["build"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{final} is there, but was not written by this program; move it away"
        ) from None
    wanted = json.loads(json.dumps(build.settings()))
    other = [
        f"{key} {found.get(key)}, not {wanted.get(key)}"
        for key in wanted | found
        if found.get(key) != wanted.get(key)
    ]
    if other:
        raise InputError(
            f"{final} is there with {'; '.join(other)}: remove it or choose another --data_dir"
        )
    return True


def counts(final: Path) -> dict[str, int]:
    """Number of fields in each part of a finished dataset."""
    info = json.loads((final / "dataset_info.json").read_text())
    return {part["name"]: sum(map(int, part["shardLengths"])) for part in info["splits"]}


def _run_tfds(
    wanted: Build, plan: Plan, config: tuple[str, str], half: Path, read, beam_options: Any
) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault(
        "TF_ENABLE_ONEDNN_OPTS", "0"
    )  # nothing is computed here; on, it writes a line to stderr
    # Imported here, after the checks: TensorFlow takes seconds, and a worker process must not load it.
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
    own = (
        name
        if name in Builder.builder_configs
        else tfds.core.BuilderConfig(name=name, description=description)
    )
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            one_line() if beam_options else contextlib.nullcontext(),
        ):
            builder = Builder(build=wanted, plan=plan, read=read, data_dir=half, config=own)
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(beam_options=beam_options)
            )
    except Exception as error:
        cause = error  # TFDS wraps what its writer meets, in types that say less
        while cause.__cause__:
            cause = cause.__cause__
        if isinstance(
            cause, tf.errors.OpError
        ):  # TensorFlow's files: a full disk comes as this, not as OSError
            raise OSError(None, cause.message.splitlines()[0].rpartition("; ")[2]) from None
        if isinstance(cause, OSError | InputError):
            raise cause from None
        raise
    finally:
        logging.set_verbosity(verbosity)
        tfds.enable_progress_bar()


def _index(version: Path) -> None:
    """Writes the indexes, which checks each record, and compares the shards' lengths with what TFDS noted."""
    shards = sorted(version.glob("*.tfrecord-*"))
    for shard in _bar(shards, "indexing"):
        write_index(shard)
    written = json.loads((version / "dataset_info.json").read_text())["splits"]
    lengths = {part["name"]: list(map(int, part["shardLengths"])) for part in written}
    for name, expected in lengths.items():
        Records([shard for shard in shards if shard.name.startswith(f"hpa-{name}.")], expected)


def _copy_default_config(half: Path, data_dir: Path) -> None:
    """TFDS's note of which configuration is the default one, for `tfds.load("hpa")` without a name."""
    there = data_dir / "hpa" / ".config"
    if not there.exists():
        shutil.copytree(half / "hpa" / ".config", there, dirs_exist_ok=True)


@contextlib.contextmanager
def _writing_to(data_dir: Path) -> Iterator[None]:
    """Turns the system's refusals into one line, and takes back the folders that were made for nothing."""
    made = [path for path in (data_dir / "hpa", data_dir, *data_dir.parents) if not path.exists()]
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"cannot write to {data_dir}: {reason}; make room or choose another --data_dir"
        ) from None
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()  # refuses what is not empty


def _locked(data_dir: Path, name: str) -> contextlib.AbstractContextManager[None]:
    return exclusive_lock(
        data_dir / f".hpa_{name}.lock",
        busy=f"hpa/{name} is being built in {data_dir}",
        advice="wait until it has finished",
    )


def _bar(items: Sequence, caption: str) -> tqdm:
    """On a terminal alone: in a log file a bar is noise around the one line that matters."""
    return tqdm(items, desc=caption, unit=" fields", disable=None)


def _counted(results: Iterator, bar: tqdm) -> Iterator:
    for result in results:
        bar.update()
        yield result
