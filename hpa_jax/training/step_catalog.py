"""Which checkpoints a run has, what they say of themselves, and which of them is the best.

A step is complete if its manifest says so. Nothing here reads arrays.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

from hpa_jax.training import manifest, step_folders
from hpa_jax.training.manifest import DamagedCheckpoint, Manifest


class StepCatalog:
    """The checkpoints of one run.

    Args:
      folder: where they are, a folder per step.
      metric: by which the best is chosen, the larger the better.
      run_id: of the run (`hpa_jax.workdir.RunRecord.id`). A step of another run is refused, and so
        is one without a manifest; "" for a run of an older version, whose steps have none. None:
        neither is checked.

    Raises:
      InputError: something else is where the folder should be.
    """

    def __init__(self, folder: Path, *, metric: str, run_id: str | None = None):
        self._folder = folder.absolute()
        self._metric = metric
        self._run_id = run_id
        # Of the steps that were read or written here.
        self._manifests: dict[int, Manifest] = {}
        self.steps()

    def steps(self) -> list[int]:
        """The steps that have a folder, ascending, whether complete or not."""
        return step_folders.steps(self._folder)

    def path(self, step: int) -> Path:
        """The folder of a step."""
        return self._folder / str(step)

    def manifest(self, step: int) -> Manifest | None:
        """The manifest of a step that is what it is said to be; None in a run of an older version.

        Raises:
          DamagedCheckpoint: it is not complete, swapped with another, or of another run.
        """
        folder = self.path(step)
        if not folder.is_dir():
            is_there = folder.exists()
            raise DamagedCheckpoint("it is a file" if is_there else "it is not there any more")
        if step in self._manifests:
            return self._manifests[step]
        found = manifest.read(folder)
        if found is None:
            if self._run_id:
                raise DamagedCheckpoint(f"it has no {manifest.FILE_NAME}, so it is not complete")
            return None
        if found.step != step:
            raise DamagedCheckpoint(f"it is step {found.step} under another name")
        if self._run_id is not None and found.run != self._run_id:
            raise DamagedCheckpoint("it is a step of another run")
        self._manifests[step] = found
        return found

    def latest(self) -> int | None:
        """The last step that is complete, as far as its manifest tells."""
        for step in reversed(self.steps()):
            with contextlib.suppress(DamagedCheckpoint):
                self.manifest(step)
                return step
        return None

    def metrics(self, step: int) -> dict[str, Any]:
        """What was saved as metrics with `step`; empty if it was saved without an evaluation.

        Raises:
          DamagedCheckpoint: that cannot be told.
        """
        found = self.manifest(step)
        return stored_metrics(self.path(step)) if found is None else found.metrics

    def position(self, step: int) -> int | None:
        """The position in the data that was saved with `step`; None from older versions."""
        found = self.manifest(step)
        return stored_position(self.path(step)) if found is None else found.position

    def datasets(self, step: int) -> dict[str, dict[str, str]]:
        """The digests of the data of the run when `step` was saved; empty from older versions."""
        found = self.manifest(step)
        return {} if found is None else found.datasets

    def written(self, step: int) -> int | None:
        """When `step` was written (ns since the epoch), to tell two checkpoints of a step apart."""
        found = self.manifest(step)
        return stored_time(self.path(step)) if found is None else found.written

    def best(self) -> int | None:
        """The step with the largest metric, the later of equals; the last without evaluations."""
        ranked = [(rank, step) for step, rank in self.ranks().items()]
        return max(ranked)[1] if ranked else self.latest()

    def ranks(self) -> dict[int, float]:
        """The metric that ranks, of the complete steps that were evaluated."""
        ranks = {}
        for step in self.steps():
            with contextlib.suppress(DamagedCheckpoint):
                metrics = self.metrics(step)
                if metrics:
                    ranks[step] = self.rank(metrics)
        return ranks

    def rank(self, metrics: dict[str, Any]) -> float:
        """The metric that ranks; an older version may have saved others, which rank lowest."""
        return metrics.get(self._metric, float("-inf"))

    def lost_best(self) -> int | None:
        """The best step by what the run wrote down, if it is not among those with metrics."""
        ranks = self.ranks()
        newest = self.latest()
        found = None if newest is None else self.manifest(newest)
        if found is not None and found.best.get("metric") == self._metric:
            if found.best["step"] not in ranks:
                return found.best["step"]
        step = _best_by_thresholds(self._folder.parent / "thresholds.json")
        if step is None or step in ranks:
            return None
        # One that is gone may have been beaten by a later one.
        was_beaten = step not in self.steps() and any(later > step for later in ranks)
        return None if was_beaten else step

    def has_metrics_file(self, step: int) -> bool:
        """Whether the file of metrics of a step is there and has what the manifest has."""
        stored = None
        with contextlib.suppress(DamagedCheckpoint):
            stored = stored_metrics(self.path(step))
        # Texts: a metric that is not a number is not equal to itself.
        texts = {json.dumps(metrics, sort_keys=True) for metrics in (stored, self.metrics(step))}
        return len(texts) == 1

    def problems(self) -> dict[int, str]:
        """Why each step that is not complete, or not of this run, is not; arrays are not read."""
        found = {}
        for step in self.steps():
            try:
                self.metrics(step)
                self.position(step)
                self.written(step)
            except DamagedCheckpoint as error:
                # A run that trains meanwhile removes steps.
                if self.path(step).exists():
                    found[step] = str(error)
        return found


def stored_metrics(folder: Path) -> dict[str, Any]:
    """The metrics in the file of a step that is for them; empty if there are none.

    Raises:
      DamagedCheckpoint: they cannot be read.
    """
    path = _metrics_path(folder)
    if not path.parent.exists():
        return {}
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedCheckpoint("its metrics cannot be read") from error
    if not isinstance(metrics, dict):
        raise DamagedCheckpoint("its metrics cannot be read")
    return metrics


def write_stored_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Writes what `stored_metrics` reads."""
    path = _metrics_path(folder)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(metrics), encoding="utf-8")


def _metrics_path(folder: Path) -> Path:
    return folder / "metrics" / "metrics"


def stored_position(folder: Path) -> int | None:
    """The position in the data that Orbax stored with a step; None from the oldest versions.

    Raises:
      DamagedCheckpoint: it cannot be read.
    """
    custom = _stored_metadata(folder).get("custom_metadata")
    position = custom.get("position") if isinstance(custom, dict) else None
    if position is not None and not isinstance(position, int):
        raise DamagedCheckpoint("its position in the data cannot be read")
    return position


def stored_time(folder: Path) -> int | None:
    """When Orbax wrote a step, in ns since the epoch; None where that is not known.

    Raises:
      DamagedCheckpoint: it cannot be read.
    """
    written = _stored_metadata(folder).get("commit_timestamp_nsecs")
    if written is not None and not isinstance(written, int):
        raise DamagedCheckpoint("when it was written cannot be read")
    return written


def _stored_metadata(folder: Path) -> dict[str, Any]:
    path = folder / "_CHECKPOINT_METADATA"
    if not path.exists():
        return {}
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedCheckpoint(f"{path.name} cannot be read") from error
    if not isinstance(metadata, dict):
        raise DamagedCheckpoint(f"{path.name} cannot be read")
    return metadata


def _best_by_thresholds(path: Path) -> int | None:
    """The step that thresholds.json of a finished run names; None if it names none."""
    try:
        step = json.loads(path.read_text(encoding="utf-8"))["checkpoint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return step if isinstance(step, int) else None
