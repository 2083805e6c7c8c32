"""ensemble.json: weights and thresholds of an ensemble, and the runs they were fitted for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpa_jax.errors import InputError, one_line
from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.evaluation.tta import in_current_words
from hpa_jax.files import SHA256, json_digest, read_json

FILE_NAME = "ensemble.json"

_ADVICE = (
    "fit it with --mode=evaluate, the same --config.evaluate.runs and test-time augmentation, and "
    "no --config.data.eval_split"
)


class FittedEnsemble:
    """What ensemble.json holds, checked to be of the runs that are asked for.

    Attributes:
      models: what is recorded of each model.
      split: that weights and thresholds were fitted on.

    Args:
      path: of the file.
      folders: of the runs, in any order.

    Raises:
      InputError: it is not there, cannot be read, or is of other runs.
    """

    def __init__(self, path: Path, folders: Sequence[str]):
        self._path = path
        if not path.exists():
            raise self._error("no such file")
        content = read_json(path, advice=_ADVICE)
        # Those of version 0.2 and before have none.
        if SHA256 in content and content[SHA256] != json_digest(content):
            raise self._error("was damaged or edited (its SHA-256 is another)")
        try:
            self._parse(content)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            reason = one_line(error, limit=80)
            raise self._error(f"cannot be read ({type(error).__name__}: {reason})") from None
        if self._checkpoints.keys() != set(map(_resolved, folders)):
            fitted_for = ", ".join(self._folders)
            raise self._error(f"is of other runs ({fitted_for})")

    def _parse(self, content: dict[str, Any]) -> None:
        self.models = content["models"]
        self.split = str(content["fitted_on"])
        self._tta = in_current_words(content["views"])
        self._thresholds = {}
        for name, value in content["thresholds"].items():
            self._thresholds[str(name)] = float(value)
        self._folders = []
        self._checkpoints = {}
        self._weights = {}
        for model in self.models:
            for run in model["runs"]:
                folder = _resolved(run["folder"])
                self._folders.append(run["folder"])
                self._checkpoints[folder] = int(run["checkpoint"])
                self._weights[folder] = float(model["weight"])

    def _error(self, what: str) -> InputError:
        return InputError(f"{self._path}: {what}; {_ADVICE}")

    def check_table(self, folder: str, table: ScoreTable) -> None:
        """Raises InputError where a run's scores are of another checkpoint or augmentation."""
        if self._checkpoints[_resolved(folder)] != table.checkpoint:
            raise self._error(f"is of another checkpoint of {folder} than {table.checkpoint}")
        if self._tta != table.tta:
            raise self._error(
                f"is of another test-time augmentation ({self._tta}) than {table.tta}"
            )

    def weight_of(self, folder: str) -> float:
        """Of the model that a run belongs to."""
        return self._weights[_resolved(folder)]

    def thresholds_of(self, labels: Sequence[str]) -> np.ndarray:
        """float64 [L], in the order of these names.

        Raises:
          InputError: the ensemble was fitted for other labels.
        """
        if set(labels) != self._thresholds.keys():
            raise self._error("is of other labels")
        return np.array([self._thresholds[name] for name in labels])


def _resolved(folder: str) -> str:
    return str(Path(folder).resolve())
