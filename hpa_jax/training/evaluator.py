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
import numpy as np
from jax.sharding import Mesh

from hpa_jax.config import Config
from hpa_jax.data.dataset import ConcatDataset, ImageDataset
from hpa_jax.data.loader import eval_batches, train_batches
from hpa_jax.data.sampler import Order
from hpa_jax.metrics import classification, histogram, thresholds
from hpa_jax.optim.ema import with_estimated_statistics
from hpa_jax.optim.plateau import after_evaluation
from hpa_jax.parallel.mesh import process_slice, put_batch, put_replicated, replicated
from hpa_jax.training import experiment
from hpa_jax.training.state import TrainState, eval_variables
from hpa_jax.training.steps import make_score_step
from hpa_jax.transforms import normalize

FIGURES = (*classification.METRICS, "samples_f1")
"""Figures of an evaluation; each can be `config.checkpoint.metric`."""


class Validation:
    """Evaluates states on `config.data.eval_split`.

    Args:
      config: of the run, resolved.
      mesh: of the devices.
      fields: those to evaluate on.
      train_fields, order: those to train on, and which comes when.
      stopped: whether to leave off; all processes ask at the same places (PreemptionSignal.should_stop).
    """

    def __init__(
        self,
        config: Config,
        mesh: Mesh,
        fields: ImageDataset,
        train_fields: ConcatDataset,
        order: Order,
        stopped: Callable[..., bool],
    ):
        self._config, self._mesh, self._fields, self._stopped = config, mesh, fields, stopped
        self._train_fields, self._order = train_fields, order
        self._count_step = make_count_step(config, mesh)
        self._statistics_step = jax.jit(
            experiment.make_statistics(config, mesh), out_shardings=replicated(mesh)
        )

    def __call__(self, state: TrainState) -> tuple[TrainState, dict | None]:
        """The state with what an evaluation changes in it, and the figures; None if it was stopped on the way.

        What changes (the statistics of averaged weights, the progress) follows from the state alone, so that a run
        that was stopped here and evaluates again finds the same.
        """
        average = state.average
        if average is not None and average.batch_stats:
            average = with_estimated_statistics(
                average, self._statistics_step, self._first_batches()
            )
            average = put_replicated(average, self._mesh)
        shown = state.replace(average=average)
        counts = None if self._stopped("an evaluation") else self._counts(eval_variables(shown))
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
        settings = {"batch_size": data.batch_size, "threads": data.threads} | process_slice()
        batches = train_batches(self._train_fields, self._order, **settings)
        names = ("image", "source")
        for number, batch in enumerate(itertools.islice(batches, self._config.train.ema_batches)):
            if self._stopped(
                f"batch {number} of the averaged weights' statistics", slow=number == 0
            ):
                return  # the average is thrown away
            yield put_batch({name: batch[name] for name in names}, self._mesh)

    def _counts(self, variables: dict) -> tuple[histogram.ScoreCounts, np.ndarray] | None:
        data, labels = self._config.data, len(self._config.label_ids())
        empty = np.zeros((labels, histogram.BINS + 2), np.int32)
        counts = (
            histogram.ScoreCounts(empty, empty.copy()),
            np.zeros((labels + 1, 2 * labels + 1), np.int32),
        )
        counts = put_replicated(counts, self._mesh)
        settings = {"batch_size": data.batch_size, "threads": data.threads} | process_slice()
        for number, batch in enumerate(eval_batches(self._fields, **settings)):
            if self._stopped(
                f"batch {number} of an evaluation", slow=number == 0
            ):  # the first one compiles
                return None
            arrays = {name: batch[name] for name in ("image", "targets", "mask")}
            counts = self._count_step(counts, variables, put_batch(arrays, self._mesh))
        return jax.device_get(counts)

    def _figures(self, counts: histogram.ScoreCounts, agreement: np.ndarray) -> dict:
        figures = classification.metrics_from_counts(counts) | {
            "samples_f1": classification.mean_image_f1_from_counts(agreement)
        }
        return {name: figures[name] for name in FIGURES} | {
            "thresholds": thresholds.fit(
                counts, few_positives=self._config.evaluate.few_positives
            ).tolist(),
            "thresholds_split": self._config.data.eval_split,
        }


def make_count_step(config: Config, mesh: Mesh) -> Callable:
    """Jitted: the counts so far, variables and a batch, to the counts with that batch. Only counts cross devices."""
    score_step = make_score_step(
        experiment.make_model(config), preparation=normalize.preparation(config.data), mesh=mesh
    )
    grid = histogram.threshold_grid()

    def count_step(counts, variables, batch):
        scores = jax.nn.sigmoid(score_step(variables, batch["image"]))
        by_label = histogram.score_counts(
            histogram.bin_scores(scores, grid), batch["targets"], batch["mask"]
        )
        batch_sharding = classification.agreement_counts(
            scores > 0.5, batch["targets"] > 0, batch["mask"]
        )
        return counts[0] + by_label, counts[1] + batch_sharding

    return jax.jit(count_step, donate_argnums=0, out_shardings=replicated(mesh))
