"""Sealing: a run of an older version gets what this version writes as it trains.

Its checkpoints get manifests, its config.json a record with a digest. That says what they are now,
not that they are what they were.
"""

import hashlib
from pathlib import Path

from hpa_jax.data import pipeline
from hpa_jax.data.identity import DataIdentity
from hpa_jax.errors import InputError
from hpa_jax.files import locked
from hpa_jax.training.checkpoint import Checkpoints
from hpa_jax.training.manifest import DamagedCheckpoint
from hpa_jax.training.sealing import seal_step
from hpa_jax.workdir import read_config, read_record, write_record


def seal_run(workdir: Path) -> str:
    """Seals the run in `workdir`; returns what was done, in a line.

    Raises:
      InputError: it cannot be read in full. Nothing is sealed then.
    """
    config = read_config(workdir)
    if read_record(workdir).format > 1:
        return f"{workdir} is sealed already"
    with locked(workdir):
        # Its id follows from what it is, so that a sealing that was interrupted can be repeated.
        run_id = hashlib.sha256((workdir / "config.json").read_bytes()).hexdigest()[:32]
        folder = workdir / "checkpoints"
        checkpoints = Checkpoints(folder, metric=config.checkpoint.metric)
        steps = checkpoints.steps()
        for step in steps:
            try:
                checkpoints.verify(step)
                checkpoints.metrics(step)
                checkpoints.position(step)
                checkpoints.written(step)
            except DamagedCheckpoint as error:
                raise InputError(
                    f"{checkpoints.path(step)} is damaged ({error}), so nothing was sealed; put it "
                    "back from a copy, or move it out of the run's folder"
                ) from error
        data = _identity(config)
        datasets = {} if data is None else data.datasets
        for step in steps:
            seal_step(checkpoints, step, run_id=run_id, datasets=datasets)
        # Last: with it the manifests become what the run's steps must have.
        write_record(workdir, config, run_id, data)
    what = "with the data as they are now"
    if data is None:
        what = "without its data, which cannot be read"
    return f"{workdir} is sealed: config.json, {len(steps)} checkpoints, {what}"


def _identity(config) -> DataIdentity | None:
    try:
        return pipeline.identify(config.data, pipeline.open_sources(config.data))
    except InputError:
        return None
