"""A start of a run makes its folder the run's, or finds that it is the same run as before.

Where the data lie may change between two starts; what they are may not.
"""

import dataclasses
import itertools
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpa_jax.config import Config, differences
from hpa_jax.data.identity import DataIdentity
from hpa_jax.environment.dataset_names import bare_name, split_weight
from hpa_jax.errors import InputError
from hpa_jax.labels import named
from hpa_jax.workdir.config_file import read, write_config
from hpa_jax.workdir.learned_ids import digest_of_ids, write_learned_ids
from hpa_jax.workdir.record import FORMAT, RunRecord

# What may change between two starts of a run: it does not change the steps that are already done.
FREE_TO_CHANGE = (
    "train.epochs",
    "train.steps",
    "train.log_every",
    "train.eval_every",
    "train.profile",
    "train.tracker",
    "data.threads",
    "data.connections",
    "data.cache_gb",
    "model.block",
    "model.kernels",
)
FREE_SECTIONS = (
    "checkpoint.",
    "evaluate.",
    "export.",
    "predict.",
    "report.",
    "devices.",
    "plan.",
    "verify.",
    "sweep.",
)

# What a run writes after config.json. Where there is one of these and no config.json, the folder is
# somebody else's.
_NEEDS_A_RUN = ("checkpoints", "metrics.jsonl", "thresholds.json", "pretrained.json")

# What a section leaves to the data, or to the run, until it is resolved.
_RESOLVED = ("data.vocabulary", "data.aspect")


def claim(workdir: Path, config: Config, data: DataIdentity | None = None) -> RunRecord:
    """Records `config` and `data` as the run's, or checks that a run that was started has the same.

    Args:
      workdir: the run's folder.
      config: resolved.
      data: what the run learns from and is evaluated on; None where that is not known.

    Returns:
      What the run is.

    Raises:
      InputError: the data are others; names the first setting that differs and may not; or the
        folder has checkpoints without a config.json.
    """
    if not (workdir / "config.json").exists():
        _refuse_foreign(workdir)
        return write_record(workdir, config, uuid.uuid4().hex, data)
    trained, record = read(workdir)
    # The data can be compared only where the run has recorded them.
    is_known = data is not None and bool(record.datasets)
    if is_known:
        _check_same_data(workdir, config, record, data)
    _check_same_settings(workdir, trained, config, same_data=is_known)
    if data is not None and record.format > 1 and not record.datasets:
        # It was sealed where its data could not be read.
        return write_record(workdir, config, record.id, data)
    if is_known:
        record = _complete_record(workdir, record, data)
        # The version that was chosen for this start is not what was configured.
        as_configured = {"name": trained.data.name, "sources": trained.data.sources}
        section = dataclasses.replace(config.data, **as_configured)
        config = dataclasses.replace(config, data=section)
    write_config(workdir, config, record)
    return record


def _check_same_data(workdir: Path, config: Config, record: RunRecord, data: DataIdentity) -> None:
    where = {"workdir": workdir, "data_dir": config.data.data_dir}
    check_same_datasets(record.datasets, data.datasets, **where)
    other_images = "other images, or the same in another encoding,"
    check_same_datasets(record.images, data.images, **where, what=other_images)


def _check_same_settings(
    workdir: Path, trained: Config, config: Config, *, same_data: bool
) -> None:
    """Refuses the first setting that differs and may not.

    Args:
      workdir: the run's folder, for the message.
      trained: what the run was started with.
      config: of this start.
      same_data: the data are those of the run, wherever they lie and whatever version they are.
    """
    for name, (before, now) in differences(trained, config).items():
        if name == "data.data_dir" and same_data:
            continue
        if name in ("data.name", "data.sources") and same_data and _same_names(before, now):
            continue
        if name in _RESOLVED and not now:
            continue
        if name == "data.vocabulary":
            raise _other_vocabulary(workdir, config.data.name, before, now)
        if not _may_change(name, config):
            raise InputError(
                f"{workdir} holds a run with config.{name}={before!r}, now {now!r}; "
                "set it back to resume that run, or choose another --workdir"
            )


def _complete_record(workdir: Path, record: RunRecord, data: DataIdentity) -> RunRecord:
    """What is missing of the run's record, by data that are known to be its own."""
    if digest_of_ids(data.learned) == record.learned_ids:
        # A copy of the run may lack the file.
        write_learned_ids(workdir, data.learned)
    if record.preparations:
        return record
    # Of a run that an older version has started.
    return dataclasses.replace(record, preparations=data.preparations)


def _may_change(name: str, config: Config) -> bool:
    keeps_progress = config.optim.plateau_patience or config.train.stop_after
    if name == "checkpoint.metric" and keeps_progress:
        return False  # the best value so far is one of this metric
    return name in FREE_TO_CHANGE or name.startswith(FREE_SECTIONS)


def _same_names(before: str | Sequence[str], now: str | Sequence[str]) -> bool:
    """Whether two settings name the same datasets, of whichever versions, with the same weights."""
    if isinstance(before, str):
        return bare_name(before) == bare_name(now)
    names_before = [_without_version(source) for source in before]
    names_now = [_without_version(source) for source in now]
    return names_before == names_now


def _without_version(source: str) -> tuple[str, str]:
    name, weight = split_weight(source)
    return bare_name(name), weight


def _other_vocabulary(workdir: Path, dataset: str, before: list[str], now: list[str]) -> InputError:
    learned = named(tuple(before))
    found = named(tuple(now))
    first = _first_difference(before, now)
    return InputError(
        f"{workdir} holds a run that has learnt the {len(learned)} labels of {learned.name}, and "
        f"those of the dataset {dataset} are the {len(found)} of {found.name} (label {first}); "
        "choose another --workdir"
    )


def _first_difference(before: list[str], now: list[str]) -> str:
    pairs = itertools.zip_longest(before, now, fillvalue="no label")
    for number, (was, is_now) in enumerate(pairs):
        if was != is_now:
            return f"{number} is {was!r} and {is_now!r}"
    raise ValueError("the vocabularies are the same")


def check_same_datasets(
    then: Mapping[str, Mapping[str, str]],
    now: Mapping[str, Mapping[str, str]],
    *,
    workdir: Path,
    data_dir: str,
    what: str = "other Ids, labels or folds",
) -> None:
    """Refuses to resume a run on other data.

    Args:
      then: `{NAME: {SPLIT: SHA-256}}`, as the run recorded it; empty where it did not.
      now: the same, of the data that are there. What they have besides does not matter.
      workdir: the run's folder, for the message.
      data_dir: where the data are, for the message.
      what: differs where a digest does.

    Raises:
      InputError: names the first split that is another.
    """
    for name, splits in then.items():
        for split, digest in splits.items():
            if now.get(name, {}).get(split) != digest:
                raise InputError(
                    f"the dataset {name} in {data_dir} was built anew: its split {split} has "
                    f"{what} than the run in {workdir} has learnt from; give the data of then with "
                    "--config.data.data_dir, or choose another --workdir"
                )


def _refuse_foreign(workdir: Path) -> None:
    """Refuses to start a run among the files of another program, which it would write over."""
    for name in _NEEDS_A_RUN:
        path = workdir / name
        is_empty = path.is_dir() and not path.is_symlink() and not any(path.iterdir())
        if os.path.lexists(path) and not is_empty:
            raise InputError(
                f"{workdir} holds {name} and no config.json: no run of this program; choose "
                "another --workdir, or put the config.json of that run back"
            )


def write_record(
    workdir: Path, config: Config, run_id: str, data: DataIdentity | None
) -> RunRecord:
    """Writes what a run is for the first time: at its first start, or where an older one is sealed.

    Args:
      workdir: the run's folder.
      config: resolved.
      run_id: 32 hex digits.
      data: as for `claim`.

    Returns:
      What was written.
    """
    record = RunRecord(FORMAT, run_id)
    if data is not None:
        record = RunRecord(
            format=FORMAT,
            id=run_id,
            datasets=data.datasets,
            images=data.images,
            learned_ids=digest_of_ids(data.learned),
            versions=data.versions,
            preparations=data.preparations,
        )
        write_learned_ids(workdir, data.learned)
    # Last: with it the folder is a run's.
    write_config(workdir, config, record)
    return record
