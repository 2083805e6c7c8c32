"""Runs that no training made: a net drawn at random in a real checkpoint, in seconds."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpa_jax.config import Config
from hpa_jax.data import pipeline
from hpa_jax.parallel.mesh import make_mesh
from hpa_jax.recipes import load_config
from hpa_jax.training import components, parts
from hpa_jax.training.checkpoint import Checkpoints
from hpa_jax.training.state import TrainState
from hpa_jax.workdir import RunRecord, claim, read_config

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "quickstart.py"
STEP = 1


def made_run(
    workdir: Path,
    data_dir: Path,
    *,
    changed: Callable[[TrainState], TrainState] = lambda state: state,
    **fields,
) -> Config:
    """A run's folder with config.json and one checkpoint; `fields` are set by name: `data__fold=1`.

    Its thresholds, 0.4 and up, say that they were fitted on `validation`. `changed` makes the state
    that is saved.
    """
    config, record = started_run(workdir, data_dir, **fields)
    checkpoints = Checkpoints(workdir / "checkpoints", metric="macro_f1", keep=1, run_id=record.id)
    fitted = np.linspace(0.4, 0.6, len(config.label_ids())).tolist()
    metrics = {"macro_f1": 0.1, "thresholds": fitted, "thresholds_split": "validation"}
    checkpoints.save(STEP, changed(first_state(config)), 8 * STEP, metrics)
    checkpoints.close()
    return config


def started_run(workdir: Path, data_dir: Path, **fields) -> tuple[Config, RunRecord]:
    """As `made_run`, without a checkpoint: no net is made."""
    made = {
        "data__data_dir": str(data_dir),
        "data__name": "synthetic_32",
        "data__batch_size": 8,
        "model__name": "densenet_tiny",
        "train__prior_bias": False,
    }
    config = load_config(RECIPE, **(made | fields))
    config = dataclasses.replace(config, data=pipeline.resolve_data(config.data))
    workdir.mkdir(parents=True, exist_ok=True)
    identity = pipeline.identify(config.data, pipeline.open_sources(config.data))
    return config, claim(workdir, config, identity)


def first_variables(config: Config) -> dict:
    """The random `{'params', 'batch_stats'}` that a run starts from."""
    setup = components.Setup(config, make_mesh())
    return parts.initial_variables(setup.model, setup.input_shape, config.train.seed)


def first_state(config: Config) -> TrainState:
    """The state of a run before its first step, on all devices."""
    return components.Setup(config, make_mesh()).initial_state(first_variables(config))


def restored_state(workdir: Path, step: int) -> TrainState:
    """The state that a run saved with `step`."""
    config = read_config(workdir)
    checkpoints = Checkpoints(workdir / "checkpoints", metric=config.checkpoint.metric)
    state = components.Setup(config, make_mesh()).abstract_state()
    restored = checkpoints.restore(step, state)
    checkpoints.close()
    return restored
