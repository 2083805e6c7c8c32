"""Every task, by the name that `config.train.task` has."""

from jax.sharding import Mesh

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.training.tasks.cell_masks import CellMaskTask
from hpa_jax.training.tasks.cells import CellTask
from hpa_jax.training.tasks.channels import ChannelTask
from hpa_jax.training.tasks.classification import ClassificationTask
from hpa_jax.training.tasks.metric import MetricTask
from hpa_jax.training.tasks.task import Task

TASKS: dict[str, type[Task]] = {
    "cell_masks": CellMaskTask,
    "cells": CellTask,
    "classification": ClassificationTask,
    "channels": ChannelTask,
    "metric": MetricTask,
}
"""Every task, by its name."""


def task_class(config: Config) -> type[Task]:
    """The class of the configured task.

    Raises:
      InputError: an unknown name.
    """
    name = config.train.task
    if name not in TASKS:
        known = ", ".join(TASKS)
        raise InputError(f"config.train.task={name!r} is unknown; choose one of {known}")
    return TASKS[name]


def make_task(config: Config, mesh: Mesh) -> Task:
    """The configured task on a mesh, whose devices need not be there.

    Args:
      config: resolved (`Task.resolve`), with a resolved `data` section.
      mesh: of the devices.

    Raises:
      InputError: an unknown task, or a setting that it does not take.
    """
    return task_class(config)(config, mesh)


def check_task(config: Config, wanted: str, workdir: str) -> None:
    """Refuses a run that has learnt something else than `wanted`, a name of TASKS.

    Raises:
      InputError: names the run's task, and what such a run is for.
    """
    if config.train.task == wanted:
        return
    learnt = task_class(config)
    raise InputError(
        f"{workdir} has learnt {learnt.LEARNS} (config.train.task={config.train.task!r}), "
        f"not {TASKS[wanted].LEARNS}; it is for {learnt.AFTERWARDS}"
    )
