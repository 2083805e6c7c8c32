"""A run's folder: the same run at each start.

config.json      the resolved configuration; a second start must agree with it
metrics.jsonl    one object a line (tracking/logger.py)
checkpoints/     Orbax (training/checkpoint.py)
thresholds.json  of the best checkpoint
pretrained.json  the weights that the run started from, if any: file, SHA-256 (pretrained/load.py)
"""

import json
from pathlib import Path

from hpa_jax.config import Config, differences, from_dict, to_dict
from hpa_jax.errors import InputError
from hpa_jax.files import write_json

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


def read_config(workdir: Path) -> Config:
    """The resolved configuration of the run in `workdir`.

    Raises:
      InputError: there is no run, or its config.json is not one.
    """
    path = workdir / "config.json"
    if not path.is_file():
        raise InputError(
            f"{workdir} holds no run (no config.json); give --workdir the folder of a training run"
        )
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); it is written by training and not to be edited"
        ) from error


def claim(workdir: Path, config: Config) -> None:
    """Records `config` as the run's, or checks that a run that was started resumes with the same.

    Raises:
      InputError: names the first field that differs and may not.
    """
    path = workdir / "config.json"
    if path.exists():
        for name, (before, now) in differences(read_config(workdir), config).items():
            if not _may_change(name, config):
                raise InputError(
                    f"{workdir} holds a run with config.{name}={before!r}, now {now!r}; "
                    "set it back to resume that run, or choose another --workdir"
                )
    write_json(path, to_dict(config))


def _may_change(name: str, config: Config) -> bool:
    keeps_progress = config.optim.plateau_patience or config.train.stop_after
    if name == "checkpoint.metric" and keeps_progress:
        return False  # the best value so far is one of this metric
    return name in FREE_TO_CHANGE or name.startswith(FREE_SECTIONS)
