"""Every task, by the name that `config.train.task` has."""

import importlib

from jax.sharding import Mesh

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.training.tasks.task import Task

TASKS = {
    "cell_masks": "CellMaskTask",
    "cells": "CellTask",
    "classification": "ClassificationTask",
    "channels": "ChannelTask",
    "metric": "MetricTask",
}
"""The class of every task, by the task's name, which is its module's too.

A module is imported when its task is asked for: what finds cells takes half a second to import."""


def task_class(config: Config) -> type[Task]:
    """The class of the configured task.

    Raises:
      InputError: an unknown name.
    """
    name = config.train.task
    if name not in TASKS:
        known = ", ".join(TASKS)
        raise InputError(f"config.train.task={name!r} is unknown; choose one of {known}")
    return _class_of(name)


def _class_of(name: str) -> type[Task]:
    module = importlib.import_module(f"hpa_jax.training.tasks.{name}")
    return getattr(module, TASKS[name])


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
        f"not {_class_of(wanted).LEARNS}; it is for {learnt.AFTERWARDS}"
    )
