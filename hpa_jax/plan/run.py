"""--mode=plan: one row per topology, each compiled in a process of its own, in one table.

Design: a row that plan.json already has for the same configuration, dataset, compiler and source
code is not compiled again, so an interrupted plan resumes where it stopped.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import re
from pathlib import Path
from typing import NamedTuple

from hpa_jax.config import Config, Data, listed, settings_of_steps, to_dict
from hpa_jax.data import pipeline
from hpa_jax.environment.dataset_names import bare_name, split_version
from hpa_jax.environment.sources import source_digest
from hpa_jax.errors import InputError, RunStopped
from hpa_jax.files import SHA256, json_digest, sealed, write_json
from hpa_jax.labels import CHANNELS
from hpa_jax.plan.compiler import CompilerFailed, NotPossible, find_compilers, run_worker
from hpa_jax.plan.program import hours_per_epoch
from hpa_jax.plan.search import largest_batch
from hpa_jax.plan.table import details, table
from hpa_jax.plan.topologies import HERE, KNOWN

CHALLENGE_IMAGES = 31_072
"""Images in the training set of kaggle.com/c/human-protein-atlas-image-classification."""

_EXPLANATION = """\
GB are 10^9 bytes; peak: arguments, results and temporaries of one device. ms/img and eval ms: time
of one device per image, at least (its arithmetic, memory or links at their peak); measured where
the topology is `here`. sent MB: per device and step. h/epoch: at least, for {images} images,
training steps alone. Written to {path}"""


class Epoch(NamedTuple):
    """How many images an epoch has, and where that number comes from."""

    images: int
    source: str


def plan(config: Config, out: Path) -> None:
    """Writes OUT/plan.json, a row per topology, and prints the rows as a table.

    Args:
      config: of the training run; `config.plan.topologies` lists the topologies.
      out: folder for plan.json.

    Raises:
      InputError: a topology that the compiler does not know, a configuration that cannot train, or
        no compiler.
      RunStopped: stopped by Ctrl-C; finished rows are kept.
    """
    names = listed(config.plan.topologies)
    if not names:
        known = ", ".join(KNOWN)
        raise InputError(f"config.plan.topologies is empty; name some of {known}, or {HERE}")

    data, epoch = resolve_dataset(config.data)
    config = dataclasses.replace(config, data=data)
    if config.plan.images:
        epoch = Epoch(config.plan.images, "config.plan.images")
    print(f"an epoch: {epoch.images} images ({epoch.source})", flush=True)

    path = out / "plan.json"
    absent = [name for name in names if name != HERE]
    compilers = find_compilers(absent) if absent else None
    try:
        if absent:
            _refuse_unknown(absent, compilers)
        rows = _rows(config, names, epoch, compilers, path)
    except KeyboardInterrupt:
        raise RunStopped(f"stopped by Ctrl-C; finished rows are in {path}") from None
    _refuse_if_all_failed(rows)

    print("\n" + table(rows) + "\n")
    for row in rows:
        print(details(row))
    print("\n" + _EXPLANATION.format(images=epoch.images, path=path))


def resolve_dataset(data: Data) -> tuple[Data, Epoch]:
    """Fills in what the data section leaves to the dataset, and counts the images of an epoch.

    Where the dataset has not been built, the image size is the one that its name ends with, and
    the channel statistics are placeholders: constants that memory and traffic do not depend on.

    Returns:
      The data section with image size, mean and std filled in, and the epoch.

    Raises:
      InputError: the image size is not known, or an existing dataset cannot be read.
    """
    for name in data.source_names():
        bare, version = split_version(name)
        if not list(Path(data.data_dir).glob(f"hpa/{bare}/{version or '*'}/dataset_info.json")):
            return _without_dataset(data)
    resolved = pipeline.resolve_data(data)
    sources = pipeline.open_sources(resolved)
    order = pipeline.make_order(resolved, sources, seed=0)
    names = ", ".join(data.source_names())
    described = f"an epoch of {data.train_split} of {names} with sampling={data.sampling}"
    return resolved, Epoch(order.epoch_length, described)


def _without_dataset(data: Data) -> tuple[Data, Epoch]:
    size_in_name = re.search(r"_(\d+)$", bare_name(data.name))
    size = data.image_size
    if not size and size_in_name:
        size = int(size_in_name.group(1))
    if not size:
        raise InputError(
            f"{data.data_dir} holds no {data.name}, whose image size is needed: set "
            "--config.data.image_size=PX, or --config.data.data_dir to the folder that holds it"
        )
    resolved = dataclasses.replace(data, image_size=size)
    if not data.mean:
        resolved.mean = (0.1,) * len(CHANNELS)
        resolved.std = (0.2,) * len(CHANNELS)
    described = f"the challenge's: {data.data_dir} holds no {data.name}"
    return resolved, Epoch(CHALLENGE_IMAGES, described)


def _refuse_unknown(names: list[str], compilers: list[str]) -> None:
    try:
        answers = run_worker({"resolve": names}, "looking up the topologies", compilers)
    except CompilerFailed as error:
        raise InputError(f"the compiler does not start ({error}); reinstall it") from error
    for name, answer in answers.items():
        if "error" in answer:
            raise InputError(
                f"config.plan.topologies: no compiler knows {name!r} "
                f"({answer['error']}); known are for example {', '.join(KNOWN)}; or {HERE}, the "
                "devices of this machine"
            )


def _refuse_if_all_failed(rows: list[dict]) -> None:
    failed = [row for row in rows if "error" in row]
    if len(failed) < len(rows):
        return
    reasons = "; ".join(f"{row['topology']}: {row['error']}" for row in failed)
    kind = InputError if all(row["refused"] for row in failed) else RunStopped
    raise kind(f"nothing could be planned: {reasons}")


def _rows(
    config: Config,
    names: tuple[str, ...],
    epoch: Epoch,
    compilers: list[str] | None,
    path: Path,
) -> list[dict]:
    earlier = _earlier_rows(path)
    rows = []
    for name in names:
        key = _key(config, name)
        if key in earlier:
            print(f"{name}: taken from {path}, the same configuration and code")
            row = earlier[key]
        else:
            row = _compile_row(config, name, compilers)

        searchable = "fits" in row and name != HERE
        if config.plan.search and searchable and "largest_batch_per_chip" not in row:
            row |= largest_batch(config, row, compilers)

        row["key"] = key
        row["images"] = epoch.images
        row["images_from"] = epoch.source
        devices = row.get("devices", 1)
        row["hours_per_epoch"] = hours_per_epoch(row.get("ms_per_image"), epoch.images, devices)
        rows.append(sealed(row))

        # Rows of an earlier plan that are still to be looked up stay in the file until then.
        waiting = [_key(config, other) for other in names[len(rows) :]]
        write_json(path, rows + [earlier[key] for key in waiting if key in earlier])
    return rows


def _compile_row(config: Config, name: str, compilers: list[str] | None) -> dict:
    request = {
        "config": to_dict(config),
        "topology": name,
        "steps": ["training", "evaluation"],
    }
    try:
        row = run_worker(request, f"{name}: starting", None if name == HERE else compilers)
    except (NotPossible, CompilerFailed) as error:
        refused = isinstance(error, NotPossible)
        return {"topology": name, "error": str(error), "refused": refused}
    seconds = row.get("compile_s", 0) + row.get("eval_compile_s", 0)
    verdict = "fits" if row["fits"] else "does not fit"
    print(f"{name}: {verdict} ({seconds:.0f} s of compiling)", flush=True)
    return row


def _earlier_rows(path: Path) -> dict[str, dict]:
    """The compiled rows of an earlier plan, by their key; those that are as they were written."""
    found = {}
    try:
        for row in json.loads(path.read_text(encoding="utf-8")):
            is_intact = row.get(SHA256) == json_digest(row)
            if is_intact and "fits" in row and not row["measured"]:
                found[row["key"]] = row
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # what cannot be read is compiled again
    return found


def _key(config: Config, topology: str) -> str:
    """A digest of all that a row depends on: configuration, versions, and this package's source."""
    versions = [importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")]
    facts = [settings_of_steps(config), topology, config.plan.effort, versions, source_digest()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
