"""Reads the backbone of a finished run's best checkpoint."""

import hashlib
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from hpa_jax.errors import InputError
from hpa_jax.training import components, manifest
from hpa_jax.training.checkpoint import Checkpoints
from hpa_jax.training.finished_run import FinishedRun
from hpa_jax.training.state import eval_variables
from hpa_jax.workdir import read_record


class Backbone(NamedTuple):
    """The backbone of a run's best checkpoint.

    Attributes:
      variables: `{'params', 'batch_stats'}` of it alone, on the host; `{}` where there are none.
      step: of the checkpoint.
      file: the checkpoint's folder, from the run's.
      sha256: of its manifest, hex.
    """

    variables: dict
    step: int
    file: str
    sha256: str


def read_backbone(run: FinishedRun, mesh: Mesh) -> Backbone:
    """The backbone of a run's best checkpoint.

    Args:
      run: as a setting names it.
      mesh: of the devices.

    Raises:
      InputError: there is no checkpoint, or it is damaged.
    """
    checkpoints = Checkpoints(
        run.folder / "checkpoints",
        metric=run.config.checkpoint.metric,
        run_id=read_record(run.folder).id,
    )
    if not checkpoints.steps():
        raise InputError(f"{run.named} has no checkpoint yet; give the folder of a finished run")
    step = checkpoints.choose("best")
    path = checkpoints.path(step)
    # What is None is not read: Adam's state is twice as large as the net.
    abstract = components.Setup(run.config, mesh).abstract_state().replace(opt_state=None)
    try:
        state = checkpoints.read(step, abstract)
    except manifest.DamagedCheckpoint as error:
        raise InputError(
            f"{run.named}: its best checkpoint, {path}, is damaged: {error}; put it back from a "
            "copy"
        ) from error
    restored = jax.device_get(eval_variables(state))
    checkpoints.close()
    variables = {}
    for collection, arrays in restored.items():
        variables[collection] = arrays.get("backbone", {})
    digest = hashlib.sha256((path / manifest.FILE_NAME).read_bytes()).hexdigest()
    return Backbone(variables, step, f"checkpoints/{step}", digest)
