"""A run's folder: the same run at each start.

config.json      the resolved configuration, and what the run is (`RunRecord`); a second start must
                 agree with both
learned_ids.npy  which images the run learns from, as `hpa_jax.data.identity.id_hashes`
metrics.jsonl    one object a line (tracking/logger.py)
checkpoints/     Orbax (training/checkpoint.py)
thresholds.json  of the best checkpoint
pretrained.json  the weights that the run started from, if any: file, SHA-256 (pretrained/load.py)

config.json holds a digest of itself. A setting that was edited would make the run another one
without a word, and a damaged one might: both are refused.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hpa_jax
from hpa_jax.config import RUN, Config, differences, from_dict, to_dict
from hpa_jax.errors import InputError
from hpa_jax.files import write_json

FORMAT = 2
"""The format of the runs that this version writes; the older ones (1) have no record in them."""

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
FREE_SECTIONS = ("checkpoint.", "evaluate.", "export.", "report.", "devices.", "plan.")


@dataclass(frozen=True)
class RunRecord:
    """What a run is, besides its settings.

    Attributes:
      format: of its folder; 1: a run of version 0.2 or before, which has no record.
      id: 32 hex digits, drawn at the first start; "" in format 1.
      datasets: `{NAME: {SPLIT: SHA-256}}` of the data that it learns from and is evaluated on
        (`hpa_jax.data.identity.split_digest`); empty in format 1.
    """

    format: int
    id: str
    datasets: dict[str, dict[str, str]] = field(default_factory=dict)


def read_config(workdir: Path) -> Config:
    """The resolved configuration of the run in `workdir`.

    Raises:
      InputError: there is no run, or its config.json is not one.
    """
    return _read(workdir)[0]


def read_record(workdir: Path) -> RunRecord:
    """What the run in `workdir` is.

    Raises:
      InputError: as of `read_config`.
    """
    return _read(workdir)[1]


def _read(workdir: Path) -> tuple[Config, RunRecord]:
    path = workdir / "config.json"
    if not path.is_file():
        raise InputError(
            f"{workdir} holds no run (no config.json); give --workdir the folder of a training run"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        config = from_dict(content)
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); it is written by training and not to be edited"
        ) from error
    if RUN not in content:
        return config, RunRecord(format=1, id="")
    return config, _parse_record(path, content)


def _parse_record(path: Path, content: dict[str, Any]) -> RunRecord:
    run = content[RUN]
    if run["format"] > FORMAT:
        raise InputError(
            f"{path} is of format {run['format']}, written by hpa_jax {run['hpa_jax']}; "
            f"hpa_jax {hpa_jax.__version__} reads formats up to {FORMAT}: install a newer one"
        )
    if run["sha256"] != _digest(content):
        raise InputError(
            f"{path} was changed after training wrote it (its SHA-256 is another); set it back, "
            "and override settings with --config.SECTION.FIELD=VALUE"
        )
    return RunRecord(format=run["format"], id=run["id"], datasets=run["datasets"])


def _digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of all that config.json holds besides this digest."""
    run = {name: value for name, value in content[RUN].items() if name != "sha256"}
    rest = {**content, RUN: run}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _write(workdir: Path, config: Config, record: RunRecord) -> None:
    content = to_dict(config)
    if record.format > 1:
        content[RUN] = {
            "format": record.format,
            "id": record.id,
            "hpa_jax": hpa_jax.__version__,
            "datasets": record.datasets,
        }
        content[RUN]["sha256"] = _digest(content)
    write_json(workdir / "config.json", content)


def claim(
    workdir: Path, config: Config, datasets: dict[str, dict[str, str]] | None = None
) -> RunRecord:
    """Records `config` as the run's, or checks that a run that was started resumes with the same.

    Args:
      workdir: the run's folder.
      config: resolved.
      datasets: as in `RunRecord`.

    Returns:
      What the run is.

    Raises:
      InputError: names the first field that differs and may not.
    """
    if not (workdir / "config.json").exists():
        record = RunRecord(FORMAT, uuid.uuid4().hex, datasets or {})
        _write(workdir, config, record)
        return record
    trained, record = _read(workdir)
    for name, (before, now) in differences(trained, config).items():
        if not _may_change(name, config):
            raise InputError(
                f"{workdir} holds a run with config.{name}={before!r}, now {now!r}; "
                "set it back to resume that run, or choose another --workdir"
            )
    _write(workdir, config, record)
    return record


def _may_change(name: str, config: Config) -> bool:
    keeps_progress = config.optim.plateau_patience or config.train.stop_after
    if name == "checkpoint.metric" and keeps_progress:
        return False  # the best value so far is one of this metric
    return name in FREE_TO_CHANGE or name.startswith(FREE_SECTIONS)
