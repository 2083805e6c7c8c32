"""A run's folder: the same run at each start, on the same data.

config.json      the resolved configuration, and what the run is (`RunRecord`); a second start must
                 agree with both
learned_ids.npy  which images the run learns from (`hpa_jax.data.identity.id_hashes`)
metrics.jsonl    one object a line (tracking/logger.py)
checkpoints/     Orbax (training/checkpoint.py)
thresholds.json  of the best checkpoint
pretrained.json  the weights that the run started from, if any: file, SHA-256 (pretrained/load.py)

config.json holds a digest of itself. A setting that was edited would make the run another one
without a word, and a damaged one might: both are refused. Where the data lie may change between
two starts; what they are may not.
"""

import dataclasses
import hashlib
import io
import itertools
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import hpa_jax
from hpa_jax.config import RUN, Config, check, differences, from_dict, to_dict
from hpa_jax.data.identity import DataIdentity
from hpa_jax.environment.dataset_names import bare_name, split_weight
from hpa_jax.errors import InputError
from hpa_jax.files import SHA256, json_digest, read_json, write_atomically, write_json
from hpa_jax.labels import HPA_2018, named

FORMAT = 2
"""The format of the runs that this version writes; the older ones (1) have no record in them."""

LEARNED_IDS = "learned_ids.npy"

# What may change between two starts of a run: it does not change the steps that are already done.
FREE_TO_CHANGE = (
    "train.epochs",
    "train.steps",
    "train.log_every",
    "train.eval_every",
    "train.profile",
    "data.threads",
    "model.block",
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
)

# Paths that one call is given. Those in config.json are not heeded: somebody else may have written
# it, and they would decide where this program reads and writes.
_OF_ONE_CALL = (
    "evaluate.scores",
    "evaluate.targets",
    "evaluate.groups",
    "evaluate.labels",
    "evaluate.runs",
    "export.folder",
    "predict.images",
    "predict.out",
    "predict.overlays",
    "report.compare",
)

# What a run writes after config.json. Where there is one of these and no config.json, the folder is
# somebody else's.
_NEEDS_A_RUN = ("checkpoints", "metrics.jsonl", "thresholds.json", "pretrained.json")

_OLD_ASPECT = "stretch"

# What a section leaves to the data, or to the run, until it is resolved.
_RESOLVED = ("data.vocabulary", "data.aspect")

_warned: set[Path] = set()


@dataclass(frozen=True)
class RunRecord:
    """What a run is, besides its settings.

    Attributes:
      format: of its folder; 1: a run of version 0.2 or before, which has no record.
      id: 32 hex digits, drawn at the first start; "" in format 1.
      datasets: `{NAME: {SPLIT: SHA-256}}` of the data that it learns from and is evaluated on, as
        `hpa_jax.data.identity.DataIdentity` has it; empty in format 1.
      images: the same, of the stored images.
      learned_ids: SHA-256 of the values in LEARNED_IDS; "" where there is no such file.
      versions: `{NAME: VERSION}` of its datasets; empty in a run that did not record them.
      preparations: `{NAME: ...}`, how the images of these datasets were made, as
        `hpa_jax.data.preparation.read_preparation` has it; empty in runs of version 0.2 and before.
    """

    format: int
    id: str
    datasets: dict[str, dict[str, str]] = field(default_factory=dict)
    images: dict[str, dict[str, str]] = field(default_factory=dict)
    learned_ids: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    preparations: dict[str, dict[str, Any]] = field(default_factory=dict)

    def changed_splits(self, name: str, now: Mapping[str, str]) -> list[str]:
        """Splits of the dataset `name` that are not those of the first start.

        Args:
          name: of the dataset; nothing is known of one that the run does not use.
          now: SHA-256 of each split.
        """
        then = self.datasets.get(bare_name(name), {})
        return [split for split, digest in then.items() if now.get(split) != digest]


def read_config(workdir: Path) -> Config:
    """The resolved configuration of the run in `workdir`, without the paths of a single call.

    Raises:
      InputError: there is no run; its config.json is damaged, was edited, or is of a newer version.
    """
    return _read(workdir)[0]


def read_record(workdir: Path) -> RunRecord:
    """What the run in `workdir` is.

    Raises:
      InputError: as of `read_config`.
    """
    return _read(workdir)[1]


def with_aspect_of_run(config: Config, workdir: Path) -> Config:
    """`config`, with the aspect of the run in `workdir` if it names none and there is a run.

    Without that a run of an older version, which stretched, would be another one.

    Raises:
      InputError: as of `read_config`.
    """
    if config.data.aspect or not (workdir / "config.json").is_file():
        return config
    aspect = read_config(workdir).data.aspect
    return dataclasses.replace(config, data=dataclasses.replace(config.data, aspect=aspect))


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
        if _digest_of_ids(hashes) != record.learned_ids:
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


def _read(workdir: Path) -> tuple[Config, RunRecord]:
    path = workdir / "config.json"
    if not path.exists():
        raise InputError(
            f"{workdir} holds no run (no config.json); give --workdir the folder of a training run"
        )
    content = read_json(path, advice="it is written by training and not to be edited")
    record = RunRecord(format=1, id="")
    if RUN in content:
        record = _parse_record(path, content)
    try:
        config = from_dict(content)
        check(config)
    except InputError as error:
        raise InputError(f"{workdir}, config.json: {error}") from None
    _fill_in_old_settings(config, content)
    for name in _OF_ONE_CALL:
        section, _, field_name = name.partition(".")
        setattr(getattr(config, section), field_name, "")
    if record.format == 1:
        _warn_of_an_older_format(workdir)
    return config, record


def _fill_in_old_settings(config: Config, content: Mapping[str, Any]) -> None:
    """What the versions did that did not have these settings."""
    written = content.get("data", {})
    if "vocabulary" not in written:
        config.data.vocabulary = HPA_2018.labels
    if "aspect" not in written:
        config.data.aspect = _OLD_ASPECT


def _warn_of_an_older_format(workdir: Path) -> None:
    """Once a process."""
    resolved = workdir.resolve()
    if resolved in _warned:
        return
    _warned.add(resolved)
    print(
        f"warning: the run in {workdir} is of an older version: nothing in it tells whether its "
        "settings, data and checkpoints are as they were; from now on that can be told after "
        f"--mode=verify --config.verify.seal=True --workdir={workdir}",
        file=sys.stderr,
    )


def _parse_record(path: Path, content: dict[str, Any]) -> RunRecord:
    run = content[RUN]
    if not isinstance(run, dict) or type(run.get("format")) is not int:
        raise _changed(path)
    if run["format"] > FORMAT:
        raise InputError(
            f"{path} is of format {run['format']}, and hpa_jax {hpa_jax.__version__} reads up to "
            f"{FORMAT}: install the version that wrote it, {run.get('hpa_jax')!r}, or a newer one"
        )
    if run.get(SHA256) != _digest(content):
        raise _changed(path)
    return RunRecord(
        format=run["format"],
        id=run["id"],
        datasets=run["datasets"],
        images=run["images"],
        learned_ids=run["learned_ids"],
        versions=run.get("versions", {}),
        preparations=run.get("preparations", {}),
    )


def _changed(path: Path) -> InputError:
    return InputError(
        f"{path} was changed after training wrote it (its SHA-256 is another): put it back as it "
        "was, and give other settings as --config.SECTION.FIELD=VALUE"
    )


def _digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of all that config.json holds besides this digest."""
    run = {name: value for name, value in content[RUN].items() if name != SHA256}
    return json_digest({**content, RUN: run})


def _digest_of_ids(hashes: np.ndarray) -> str:
    return hashlib.sha256(hashes.astype("<u8").tobytes()).hexdigest()


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
    trained, record = _read(workdir)
    data_agree = False
    if data is not None and record.datasets:
        where = {"workdir": workdir, "data_dir": config.data.data_dir}
        check_same_datasets(record.datasets, data.datasets, **where)
        other_images = "other images, or the same in another encoding,"
        check_same_datasets(record.images, data.images, **where, what=other_images)
        data_agree = True
    for name, (before, now) in differences(trained, config).items():
        if name == "data.data_dir" and data_agree:
            continue
        if name in ("data.name", "data.sources") and data_agree and _same_names(before, now):
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
    if data is not None and record.format > 1 and not record.datasets:
        # It was sealed where its data could not be read.
        return write_record(workdir, config, record.id, data)
    if data_agree and not record.preparations:
        # Of a run that an older version has started.
        record = dataclasses.replace(record, preparations=data.preparations)
    if data_agree and _digest_of_ids(data.learned) == record.learned_ids:
        # A copy of the run may lack it.
        _write_learned_ids(workdir, data.learned)
    if data_agree:
        # The version that was chosen for this start is not what was configured.
        as_configured = {"name": trained.data.name, "sources": trained.data.sources}
        config = replace(config, data=replace(config.data, **as_configured))
    _write_config(workdir, config, record)
    return record


def _same_names(before: str | Sequence[str], now: str | Sequence[str]) -> bool:
    """Whether two settings name the same datasets, of whichever versions, with the same weights."""
    if isinstance(before, str):
        return bare_name(before) == bare_name(now)
    return [_without_version(source) for source in before] == [
        _without_version(source) for source in now
    ]


def _without_version(source: str) -> tuple[str, str]:
    name, weight = split_weight(source)
    return bare_name(name), weight


def _other_vocabulary(workdir: Path, dataset: str, before: list[str], now: list[str]) -> InputError:
    learned = named(tuple(before))
    found = named(tuple(now))
    first = next(
        f"{number} is {was!r} and {is_now!r}"
        for number, (was, is_now) in enumerate(
            itertools.zip_longest(before, now, fillvalue="no label")
        )
        if was != is_now
    )
    return InputError(
        f"{workdir} holds a run that has learnt the {len(learned)} labels of {learned.name}, and "
        f"those of the dataset {dataset} are the {len(found)} of {found.name} (label {first}); "
        "choose another --workdir"
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
            learned_ids=_digest_of_ids(data.learned),
            versions=data.versions,
            preparations=data.preparations,
        )
        _write_learned_ids(workdir, data.learned)
    # Last: with it the folder is a run's.
    _write_config(workdir, config, record)
    return record


def _write_config(workdir: Path, config: Config, record: RunRecord) -> None:
    content = to_dict(config)
    # A recipe may set a flag to 1, which would be refused when it is read again.
    from_dict(content)
    if record.format > 1:
        content[RUN] = {
            "format": record.format,
            "id": record.id,
            "hpa_jax": hpa_jax.__version__,
            "datasets": record.datasets,
            "images": record.images,
            "learned_ids": record.learned_ids,
        }
        if record.versions:
            content[RUN]["versions"] = record.versions
        if record.preparations:
            content[RUN]["preparations"] = record.preparations
        content[RUN][SHA256] = _digest(content)
    write_json(workdir / "config.json", content)


def _write_learned_ids(workdir: Path, hashes: np.ndarray) -> None:
    file = io.BytesIO()
    np.save(file, hashes.astype("<u8"), allow_pickle=False)
    write_atomically(workdir / LEARNED_IDS, file.getvalue())


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


def _may_change(name: str, config: Config) -> bool:
    keeps_progress = config.optim.plateau_patience or config.train.stop_after
    if name == "checkpoint.metric" and keeps_progress:
        return False  # the best value so far is one of this metric
    return name in FREE_TO_CHANGE or name.startswith(FREE_SECTIONS)
