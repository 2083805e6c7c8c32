"""A run's state evaluated between two of its steps: batch statistics of averaged weights, figures, progress.

Unusual:
- only integer counts leave the devices, samples F1's too: a field's F1 is 2 i / s with whole i (labels found) and s
  (labels predicted + labels borne), so counting fields by i and s loses nothing and adds up exactly over any sharding;
- batch statistics of averaged weights are taken from the first batches of the run's order, the same ones each time. The
  batches that training goes on with are read by an iterator of their own and are not touched.
"""

import itertools
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from hpa_jax import assembly, metrics, thresholds
from hpa_jax.averaging import with_estimated_statistics
from hpa_jax.config import Config
from hpa_jax.data import eval_batches, train_batches
from hpa_jax.fields import Fields, Joined
from hpa_jax.mesh import part_of_process, put_batch, put_replicated, replicated
from hpa_jax.plateau import after_evaluation
from hpa_jax.sampling import Order
from hpa_jax.state import TrainState, shown_variables
from hpa_jax.steps import make_score_step

FIGURES = (*metrics.FIGURES, "samples_f1")
"""Figures of an evaluation; each can be `config.checkpoint.metric`."""


class Validation:
    """Evaluates states on `config.data.eval_split`.

    Args:
      config: of the run, resolved.
      mesh: of the devices.
      fields: those to evaluate on.
      train_fields, order: those to train on, and which comes when.
      stopped: whether to leave off; all processes ask at the same places (StopRequest.here).
    """

    def __init__(
        self,
        config: Config,
        mesh: Mesh,
        fields: Fields,
        train_fields: Joined,
        order: Order,
        stopped: Callable[..., bool],
    ):
        self._config, self._mesh, self._fields, self._stopped = config, mesh, fields, stopped
        self._train_fields, self._order = train_fields, order
        self._count_step = make_count_step(config, mesh)
        self._statistics_step = jax.jit(assembly.make_statistics(config, mesh), out_shardings=replicated(mesh))

    def __call__(self, state: TrainState) -> tuple[TrainState, dict | None]:
        """The state with what an evaluation changes in it, and the figures; None if it was stopped on the way.

        What changes (the statistics of averaged weights, the progress) follows from the state alone, so that a run
        that was stopped here and evaluates again finds the same.
        """
        average = state.average
        if average is not None and average.batch_stats:
            average = with_estimated_statistics(average, self._statistics_step, self._first_batches())
            average = put_replicated(average, self._mesh)
        shown = state.replace(average=average)
        counts = None if self._stopped("an evaluation") else self._counts(shown_variables(shown))
        if counts is None:
            return state, None
        figures = self._figures(*counts)
        if state.progress is not None:
            o, metric = self._config.optim, self._config.checkpoint.metric
            settings = {"patience": o.plateau_patience, "factor": o.plateau_factor}
            progress = after_evaluation(jax.device_get(state.progress), figures[metric], **settings)
            shown = shown.replace(progress=put_replicated(progress, self._mesh))
        return shown, figures

    def _first_batches(self) -> Iterable[dict]:
        data = self._config.data
        settings = {"batch_size": data.batch_size, "threads": data.threads} | part_of_process()
        batches = train_batches(self._train_fields, self._order, **settings)
        names = ("image", "source")
        for number, batch in enumerate(itertools.islice(batches, self._config.train.ema_batches)):
            if self._stopped(f"batch {number} of the averaged weights' statistics", slow=number == 0):
                return  # the average is thrown away
            yield put_batch({name: batch[name] for name in names}, self._mesh)

    def _counts(self, variables: dict) -> tuple[metrics.ScoreCounts, np.ndarray] | None:
        data, labels = self._config.data, len(self._config.label_ids())
        empty = np.zeros((labels, metrics.BINS + 2), np.int32)
        counts = (metrics.ScoreCounts(empty, empty.copy()), np.zeros((labels + 1, 2 * labels + 1), np.int32))
        counts = put_replicated(counts, self._mesh)
        settings = {"batch_size": data.batch_size, "threads": data.threads} | part_of_process()
        for number, batch in enumerate(eval_batches(self._fields, **settings)):
            if self._stopped(f"batch {number} of an evaluation", slow=number == 0):  # the first one compiles
                return None
            arrays = {name: batch[name] for name in ("image", "targets", "mask")}
            counts = self._count_step(counts, variables, put_batch(arrays, self._mesh))
        return jax.device_get(counts)

    def _figures(self, counts: metrics.ScoreCounts, agreement: np.ndarray) -> dict:
        figures = metrics.figures(counts) | {"samples_f1": samples_f1(agreement)}
        return {name: figures[name] for name in FIGURES} | {
            "thresholds": thresholds.fit(counts, few_positives=self._config.evaluate.few_positives).tolist(),
            "thresholds_split": self._config.data.eval_split,
        }


def make_count_step(config: Config, mesh: Mesh) -> Callable:
    """Jitted: the counts so far, variables and a batch, to the counts with that batch. Only counts cross devices."""
    score_step = make_score_step(assembly.make_model(config), preparation=assembly.preparation(config), mesh=mesh)
    grid = metrics.thresholds()

    def count_step(counts, variables, batch):
        scores = jax.nn.sigmoid(score_step(variables, batch["image"]))
        by_label = metrics.score_counts(metrics.bin_of(scores, grid), batch["targets"], batch["mask"])
        by_field = agreement_counts(scores > 0.5, batch["targets"] > 0, batch["mask"])
        return counts[0] + by_label, counts[1] + by_field

    return jax.jit(count_step, donate_argnums=0, out_shardings=replicated(mesh))


def agreement_counts(predicted: jax.Array, targets: jax.Array, mask: jax.Array) -> jax.Array:
    """How many fields have i labels both predicted and borne, and s predicted plus borne.

    Args:
      predicted, targets: bool `[B, L]`.
      mask: bool `[B]`; False counts nowhere.

    Returns:
      int32 `[L + 1, 2 L + 1]`, by i and s.
    """
    labels = targets.shape[1]
    found = jnp.sum(predicted & targets, axis=1)
    both = jnp.sum(predicted, axis=1) + jnp.sum(targets, axis=1)
    return jnp.zeros((labels + 1, 2 * labels + 1), jnp.int32).at[found, both].add(mask.astype(jnp.int32))


def samples_f1(agreement: np.ndarray) -> float:
    """Mean of the fields' F1, `2 i / s`, from `agreement_counts`; 0 where s is 0 (scikit-learn's zero_division=0)."""
    found, both = np.indices(agreement.shape)
    return float(metrics.ratio((agreement * metrics.ratio(2 * found, both)).sum(), agreement.sum()))
