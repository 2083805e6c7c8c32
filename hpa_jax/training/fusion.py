"""The runs that a fused net is made of: what their nets are, and which runs can be parts.

What the configuration leaves to them is filled in, so that config.json alone says what the net is.
fusion_source.py reads their backbones.
"""

import dataclasses

from hpa_jax.config import Config, listed
from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError
from hpa_jax.models import BACKBONES, FUSION
from hpa_jax.training.finished_run import FinishedRun

SETTING = "config.fusion.runs"

_TASKS = ("classification", "metric")
"""What a part may have learnt: nets of other tasks have no such backbone."""


def is_fusion(config: Config) -> bool:
    """Whether the net is a fused one."""
    return config.model.name == FUSION


def resolve_fusion(config: Config, images: int) -> Config:
    """Fills in the nets of the parts, where they are left to the runs, and the size of the bank.

    Args:
      config: of a fused net.
      images: how many there are to train on.

    Returns:
      A copy.

    Raises:
      InputError: a setting that a fused net does not take, no runs, or one that is no part.
    """
    _check_settings(config)
    nets = config.fusion.parts
    if not nets:
        nets = tuple(run.config.model.name for run in open_runs(config))
    kept = min(config.fusion.bank, images)
    fusion = dataclasses.replace(config.fusion, parts=nets, images=kept)
    return dataclasses.replace(config, fusion=fusion)


def _check_settings(config: Config) -> None:
    default = Config()
    if config.model.head != FUSION:
        raise InputError(
            f"config.model.head={config.model.head!r}: config.model.name='fusion' takes 'fusion'"
        )
    for section, name in (
        ("model", "pretrained"),
        ("model", "block"),
        ("model", "tile"),
        ("model", "stochastic_depth"),
        ("train", "retrain_head"),
    ):
        value = getattr(getattr(config, section), name)
        wanted = getattr(getattr(default, section), name)
        if value != wanted:
            raise InputError(
                f"config.{section}.{name}={value!r} is not for config.model.name='fusion', whose "
                f"parts stay as they were trained; set it to {wanted!r}"
            )


def open_runs(config: Config) -> list[FinishedRun]:
    """The runs that `config.fusion.runs` names.

    Raises:
      InputError: none, or one that cannot be a part.
    """
    folders = listed(config.fusion.runs)
    if not folders:
        raise InputError(
            "config.model.name='fusion' has no parts; give config.fusion.runs, the folders of "
            "finished runs"
        )
    runs = []
    for folder in folders:
        run = FinishedRun(local_path(folder, SETTING), SETTING)
        _check_is_a_part(run)
        runs.append(run)
    return runs


def _check_is_a_part(run: FinishedRun) -> None:
    task = run.config.train.task
    if task not in _TASKS:
        known = " or ".join(_TASKS)
        raise InputError(
            f"{run.named} is a run of config.train.task={task!r}; a part is of {known}"
        )
    if run.config.model.name not in BACKBONES:
        raise InputError(
            f"{run.named} is a run of config.model.name={run.config.model.name!r}; give its parts "
            "in its place"
        )
    if run.config.model.tile:
        raise InputError(
            f"{run.named} sees images tile by tile (config.model.tile={run.config.model.tile}), "
            "which no part can"
        )
