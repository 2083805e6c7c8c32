"""Writes the manifest of a checkpoint that has none, as it is now."""

from hpa_jax.files import write_atomically
from hpa_jax.folders.replace import sync_tree
from hpa_jax.training import array_store, manifest
from hpa_jax.training.checkpoint import Checkpoints
from hpa_jax.training.manifest import Manifest


def seal_step(
    checkpoints: Checkpoints, step: int, *, run_id: str, datasets: dict[str, dict[str, str]]
) -> None:
    """Writes the manifest of a step; one that it has is replaced.

    Args:
      checkpoints: of the run; the id of the run is not to be checked.
      step: which has been verified.
      run_id, datasets: as for `Checkpoints`.

    Raises:
      DamagedCheckpoint: it cannot be read.
      OSError: the manifest cannot be written.
    """
    folder = checkpoints.path(step)
    entries = {}
    for name, array in array_store.load_on_host(folder).items():
        pieces = manifest.own_pieces(array, is_primary=True)
        entries[name] = manifest.describe(name, array, pieces)
    sealed = Manifest(
        run=run_id,
        step=step,
        position=checkpoints.position(step),
        written=checkpoints.written(step),
        datasets=datasets,
        metrics=checkpoints.metrics(step),
        best={},
        arrays=entries,
    )
    sync_tree(folder)
    write_atomically(folder / manifest.FILE_NAME, sealed.to_text())
