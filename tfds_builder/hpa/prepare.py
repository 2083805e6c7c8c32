"""Builds a dataset so that it is there completely, with its indexes, or not at all.

TFDS writes into a hidden folder of the same file system; there the shards are indexed, which checks
each record's CRC; then the folder of the version is renamed to its final place, which is one step.
Before that there is nothing that a reader could take for a dataset. A lock excludes a second build
of the same dataset; the kernel releases it when a process is killed, so whoever holds it may remove
what such a process has left.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from etils import epath
from tqdm import tqdm

from hpa_jax.data.metadata import FILE_NAME as METADATA
from hpa_jax.data.metadata import read_metadata
from hpa_jax.data.records import Records, write_index
from hpa_jax.environment.causes import advice, is_of_writing
from hpa_jax.errors import InputError, one_line
from hpa_jax.files import exclusive_lock, sync_folder
from hpa_jax.folders.mark import has_mark, write_mark
from hpa_jax.folders.replace import sync_tree
from tfds_builder.hpa import planning
from tfds_builder.hpa.beam import Beam
from tfds_builder.hpa.build import Build, Map, Plan
from tfds_builder.hpa.metadata import VERSION, add_digests
from tfds_builder.hpa.pool import Pool
from tfds_builder.hpa.run_tfds import run_tfds
from tfds_builder.hpa.tables import write_tables

# That have tables of images and hashes.
_OLDER_VERSIONS = ("2.0.0",)

# In the mark of an unfinished build's folder: only what has it is removed.
_KIND = "build"

# The flag that sets a setting, where metadata.json has another name for it.
_FLAGS = {"drawing_seed": "seed"}


def version_dir(data_dir: Path, name: str) -> Path:
    """Folder of the finished dataset."""
    return data_dir / "hpa" / name / VERSION


def newest_dir(data_dir: Path, name: str) -> Path:
    """Folder of the newest finished version of a dataset; of this one if there is none."""
    for version in (VERSION, *_OLDER_VERSIONS):
        folder = data_dir / "hpa" / name / version
        if folder.exists():
            return folder
    return version_dir(data_dir, name)


def older_dir(final: Path) -> Path | None:
    """Folder of an older version beside a finished dataset, if there is one."""
    for version in _OLDER_VERSIONS:
        folder = final.with_name(version)
        if folder.exists():
            return folder
    return None


def build(
    wanted: Build,
    name: str,
    description: str,
    data_dir: Path,
    workers: int,
    beam_options: Any = None,
) -> Plan | None:
    """Builds `hpa/<name>`.

    Args:
      wanted: what is to be built.
      name: of the dataset.
      description: of the dataset, one line.
      data_dir: below which it is written.
      workers: number of processes.
      beam_options: of `beam.options`, to build on their runner.

    Returns:
      what was built, or None if it was there already with the same settings.

    Raises:
      InputError: a faulty image, a dataset with other settings is there, or nothing can be written.
    """
    final = version_dir(data_dir, name)
    if is_built(final, wanted):
        return None
    # Found out now and not after hours of decoding.
    for folder in (final.parent.parent, final.parent):
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is no folder; move it away or choose another --data_dir")
    with _writing_to(data_dir), _locked(data_dir, name), Pool(workers) as pool:
        # Another build may have finished since.
        if is_built(final, wanted):
            return None
        incomplete = data_dir / f".hpa_{name}.incomplete"
        _start_folder(incomplete)
        try:
            measure_map = None
            if beam_options:
                measure_map = Beam(beam_options, epath.Path(incomplete / "beam")).map
            plan = planning.plan(wanted, pool.map, _progress_bar, measure_map)
            _write(wanted, plan, (name, description), incomplete, pool.map, beam_options)
            final.parent.mkdir(parents=True, exist_ok=True)
            _copy_default_config(incomplete, data_dir)
            sync_tree(version_dir(incomplete, name))
            os.rename(version_dir(incomplete, name), final)
            sync_folder(final.parent)
        finally:
            shutil.rmtree(incomplete, ignore_errors=True)
    return plan


def is_built(final: Path, build: Build) -> bool:
    """Whether the dataset is there with the build's settings.

    Raises:
      InputError: it is there with other settings, or the folder holds something else.
    """
    try:
        if not final.exists():
            return False
        is_foreign = not (final / METADATA).is_file()
        found = {} if is_foreign else dict(read_metadata(final)["build"])
    except (OSError, ValueError, KeyError, TypeError):
        is_foreign = True
    except InputError as error:
        raise InputError(f"{error}; to build it again, remove {final}") from None
    if is_foreign:
        raise InputError(f"{final} is there, but was not written by this program; move it away")
    wanted = json.loads(json.dumps(build.settings()))
    differences = []
    for key in wanted | found:
        if found.get(key) != wanted.get(key):
            flag = _FLAGS.get(key, key)
            differences.append(f"{flag} {found.get(key)}, not {wanted.get(key)}")
    if differences:
        raise InputError(
            f"{final} is there with {'; '.join(differences)}: "
            "remove it or choose another --data_dir"
        )
    return True


def split_sizes(final: Path) -> dict[str, int]:
    """Number of images in each split of a finished dataset."""
    sizes = {}
    for name, lengths in _shard_lengths(final).items():
        sizes[name] = sum(lengths)
    return sizes


def _shard_lengths(version: Path) -> dict[str, list[int]]:
    """Number of records in each shard of each split, as TFDS has recorded it."""
    info = json.loads((version / "dataset_info.json").read_text())
    lengths = {}
    for split in info["splits"]:
        lengths[split["name"]] = list(map(int, split["shardLengths"]))
    return lengths


def _write(
    wanted: Build,
    plan: Plan,
    config: tuple[str, str],
    incomplete: Path,
    read: Map,
    beam_options: Any,
) -> None:
    """Writes shards, indexes and tables below `incomplete`."""
    images = [placed for members in plan.splits.values() for placed in members]
    with _progress_bar(images, "writing") as bar:

        def read_and_count(task, items):
            for result in read(task, items):
                bar.update()
                yield result

        run_tfds(wanted, plan, config, incomplete, read_and_count, beam_options)
    version = version_dir(incomplete, config[0])
    _index(version)
    write_tables(plan, version, wanted.source.manual_dir)
    add_digests(version)


def _index(version: Path) -> None:
    """Writes the indexes, which checks each record, and checks TFDS's lengths of the shards."""
    shards = sorted(version.glob("*.tfrecord-*"))
    for shard in _progress_bar(shards, "indexing"):
        write_index(shard)
    for split, lengths in _shard_lengths(version).items():
        of_split = [shard for shard in shards if shard.name.startswith(f"hpa-{split}.")]
        Records(of_split, lengths)


def _start_folder(incomplete: Path) -> None:
    """Makes the folder to write in, anew; a killed build may have left one.

    Raises:
      InputError: something else has that name, which is nobody's to remove but its owner's.
    """
    if incomplete.is_symlink() or incomplete.exists():
        is_empty = incomplete.is_dir() and not any(incomplete.iterdir())
        if incomplete.is_symlink() or not (is_empty or has_mark(incomplete, _KIND)):
            raise InputError(
                f"{incomplete} is in the way and has no mark of this program; move it away"
            )
        shutil.rmtree(incomplete)
    incomplete.mkdir()
    write_mark(incomplete, _KIND)


def _copy_default_config(incomplete: Path, data_dir: Path) -> None:
    """TFDS's record of the default configuration, for `tfds.load("hpa")` without a name."""
    target = data_dir / "hpa" / ".config"
    if not target.exists():
        shutil.copytree(incomplete / "hpa" / ".config", target, dirs_exist_ok=True)


@contextlib.contextmanager
def _writing_to(data_dir: Path) -> Iterator[None]:
    """Turns errors of the file system into one line, and removes folders made in vain."""
    candidates = (data_dir / "hpa", data_dir, *data_dir.parents)
    created = [path for path in candidates if not path.exists()]
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        where = error.filename or data_dir
        what = "write to" if is_of_writing(error) else "use"
        raise InputError(f"cannot {what} {where}: {one_line(error)}; {advice(error)}") from None
    finally:
        for path in created:
            # Refused for a folder that is not empty.
            with contextlib.suppress(OSError):
                path.rmdir()


def _locked(data_dir: Path, name: str) -> contextlib.AbstractContextManager[None]:
    return exclusive_lock(
        data_dir / f".hpa_{name}.lock",
        busy=f"hpa/{name} is being built in {data_dir}",
        advice="wait until it has finished",
    )


def _progress_bar(items: Sequence, caption: str) -> tqdm:
    """On a terminal alone: in a log file a bar is noise around the one line that matters."""
    return tqdm(items, desc=caption, unit=" images", disable=None)
