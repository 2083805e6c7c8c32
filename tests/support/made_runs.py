"""Runs that no training made: a net drawn at random in a real checkpoint, in seconds."""

from pathlib import Path

import numpy as np

from hpa_jax.config import Config
from hpa_jax.data import pipeline
from hpa_jax.main import load_recipe
from hpa_jax.parallel.mesh import make_mesh
from hpa_jax.training import experiment
from hpa_jax.training.checkpoint import Checkpoints
from hpa_jax.workdir import claim

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "quickstart.py"
STEP = 1


def made_run(workdir: Path, data_dir: Path, *, changed=lambda state: state, **fields) -> Config:
    """A run's folder with config.json and one checkpoint; `fields` are set by name: `data__fold=1`.

    Its thresholds, 0.4 and up, say that they were fitted on `validation`. `changed` makes the state that is saved.
    """
    config = load_recipe(str(RECIPE))
    config.data.data_dir, config.data.name, config.data.batch_size = (
        str(data_dir),
        "synthetic_32",
        8,
    )
    config.model.name, config.train.prior_bias = "densenet_tiny", False
    for name, value in fields.items():
        section, _, field = name.partition("__")
        setattr(getattr(config, section), field, value)
    config.data = pipeline.resolve_data(config.data)
    state, _ = experiment.initial_state(config, make_mesh(), steps=1)
    workdir.mkdir(parents=True, exist_ok=True)
    claim(workdir, config)
    checkpoints = Checkpoints(workdir / "checkpoints", metric="macro_f1", keep=1)
    fitted = np.linspace(0.4, 0.6, len(config.label_ids())).tolist()
    figures = {"macro_f1": 0.1, "thresholds": fitted, "thresholds_split": "validation"}
    checkpoints.save(STEP, changed(state), 8 * STEP, figures)
    checkpoints.close()
    return config
