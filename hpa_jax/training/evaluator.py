"""A run's metrics between two of its steps, and batch statistics for averaged weights.

Notes:
- where every image has one label, the counts are a confusion matrix, and no threshold is fitted;
- only integer counts leave the devices, those of samples F1 too: the F1 of an image is 2 i / s
  with integers i (its labels that were found) and s (labels predicted plus labels that it has),
  so that counting images by i and s loses nothing and adds up exactly over any sharding;
- batch statistics of averaged weights are estimated from the first batches of the run's order,
  the same ones each time. They are read by an iterator of their own; training's is not touched.
"""

import itertools
from collections.abc import Callable, Iterable

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from hpa_jax.data.dataset import ImageDataset
from hpa_jax.metrics import classification, histogram, thresholds
from hpa_jax.metrics import single_label as one_label
from hpa_jax.optim.ema import EmaState, with_estimated_statistics
from hpa_jax.parallel.mesh import put_batch, put_replicated, replicated
from hpa_jax.training.evaluation_loop import EvaluationBatches, EvaluationProgram
from hpa_jax.training.steps import make_score_step

METRICS = (*classification.METRICS, "samples_f1")
"""Metrics of an evaluation of images with several labels."""

Counts = tuple[histogram.ScoreCounts, np.ndarray] | np.ndarray
"""What adds up over the batches of an evaluation: scores by label and agreement by image, or the
confusion matrix of images with one label each."""


def metric_names(*, single_label: bool) -> tuple[str, ...]:
    """Metrics of an evaluation; each can be `config.checkpoint.metric`.

    Args:
      single_label: every image has exactly one label.
    """
    return one_label.METRICS if single_label else METRICS


class Evaluator:
    """Computes the metrics of weights on a split.

    Args:
      dataset: the images to evaluate on.
      mesh: of the devices.
      count_step: of `make_count_step`.
      split: name of the split, which is kept with the thresholds that are fitted on it.
      batch_size: images per step, over all processes.
      threads: that decode.
      few_positives: as `config.evaluate.few_positives`.
      single_label: every image has exactly one label, as for `make_count_step`.
      advice: what to do where the step does not fit into memory.
      inputs: names of what the net takes of a batch.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        mesh: Mesh,
        count_step: jax.stages.Wrapped,
        *,
        split: str,
        batch_size: int,
        threads: int,
        few_positives: int,
        single_label: bool,
        advice: str,
        inputs: tuple[str, ...] = ("image",),
    ):
        names = (*inputs, "targets", "mask")
        self._batches = EvaluationBatches(
            dataset, mesh, names, batch_size=batch_size, threads=threads
        )
        self._program = EvaluationProgram(count_step, mesh, advice)
        self._num_labels = dataset.num_labels
        self._mesh = mesh
        self._split = split
        self._few_positives = few_positives
        self._single_label = single_label

    def __call__(self, variables: dict, stopped: Callable[..., bool]) -> dict | None:
        """Metrics by name, and the `thresholds` fitted on this split (`thresholds_split`).

        Where every image has one label there are no thresholds, and the split has the name
        `evaluated_split`.

        Args:
          variables: `{'params', 'batch_stats'}`, on the devices.
          stopped: whether to leave off; asked before each batch.

        Returns:
          None if it was stopped.

        Raises:
          NoRoom: the step does not fit into memory.
        """
        counts = self._count(variables, stopped)
        if counts is None:
            return None
        if self._single_label:
            return one_label.metrics_from_matrix(counts) | {"evaluated_split": self._split}
        by_label, by_agreement = counts
        found = classification.metrics_from_counts(by_label)
        found["samples_f1"] = classification.mean_image_f1_from_counts(by_agreement)
        metrics = {name: found[name] for name in METRICS}
        fitted = thresholds.fit(by_label, few_positives=self._few_positives)
        return metrics | {"thresholds": fitted.tolist(), "thresholds_split": self._split}

    def _count(self, variables: dict, stopped: Callable[..., bool]) -> Counts | None:
        zero = _zero_counts(self._num_labels, single_label=self._single_label)
        counts = put_replicated(zero, self._mesh)
        for batch in self._batches(stopped):
            if batch is None:
                return None
            counts = self._program(counts, variables, batch)
        return jax.device_get(counts)


def _zero_counts(num_labels: int, *, single_label: bool) -> Counts:
    if single_label:
        return np.zeros((num_labels, num_labels), np.int32)
    shape = (num_labels, histogram.BINS + 2)
    by_label = histogram.ScoreCounts(np.zeros(shape, np.int32), np.zeros(shape, np.int32))
    by_agreement = np.zeros((num_labels + 1, 2 * num_labels + 1), np.int32)
    return by_label, by_agreement


def make_count_step(
    model: nn.Module, preparation: dict, mesh: Mesh, *, single_label: bool
) -> jax.stages.Wrapped:
    """The step of an evaluation. Only counts cross between devices.

    Args:
      model: in its plain form.
      preparation: keyword arguments of `prepare`.
      mesh: of the devices.
      single_label: every image has exactly one label.

    Returns:
      A jitted function of the counts so far (donated), variables and a batch (`image` uint8
      `[B, H, W, 4]`, `targets` 0/1 `[B, L]`, `mask` bool `[B]`) to the counts with that batch.
    """
    score_step = make_score_step(model, preparation=preparation, mesh=mesh)

    def score_images(variables: dict, batch: dict) -> jax.Array:
        return score_step(variables, batch["image"])

    return make_counting(score_images, mesh, single_label=single_label)


def make_counting(
    score: Callable[[dict, dict], jax.Array], mesh: Mesh, *, single_label: bool
) -> jax.stages.Wrapped:
    """`make_count_step` of any net.

    Args:
      score: variables and a batch to logits, float32 `[B, L]`.
      mesh, single_label: as of `make_count_step`.
    """

    def matrix_step(counts, variables, batch):
        logits = score(variables, batch)
        return counts + one_label.matrix_counts(logits, batch["targets"], batch["mask"])

    if single_label:
        return jax.jit(matrix_step, donate_argnums=0, out_shardings=replicated(mesh))
    grid = histogram.threshold_grid()

    def count_step(counts, variables, batch):
        scores = jax.nn.sigmoid(score(variables, batch))
        bins = histogram.bin_scores(scores, grid)
        targets = batch["targets"]
        mask = batch["mask"]
        by_label = histogram.score_counts(bins, targets, mask)
        by_agreement = classification.agreement_counts(scores > 0.5, targets > 0, mask)
        return counts[0] + by_label, counts[1] + by_agreement

    return jax.jit(count_step, donate_argnums=0, out_shardings=replicated(mesh))


class StatisticsEstimator:
    """Estimates batch statistics for averaged weights, on training batches.

    Args:
      statistics_step: of `steps.make_statistics_step`, jitted.
      mesh: of the devices.
      open_batches: opens this process's batches from the start of the run's order.
      num_batches: how many of them are used.
    """

    def __init__(
        self,
        statistics_step: Callable,
        mesh: Mesh,
        open_batches: Callable[[], Iterable[dict]],
        *,
        num_batches: int,
    ):
        self._statistics_step = statistics_step
        self._mesh = mesh
        self._open_batches = open_batches
        self._num_batches = num_batches

    def __call__(self, average: EmaState, stopped: Callable[..., bool]) -> EmaState:
        """The same average with estimated statistics; to be discarded once `stopped` is True."""
        batches = self._first_batches(stopped)
        average = with_estimated_statistics(average, self._statistics_step, batches)
        return put_replicated(average, self._mesh)

    def _first_batches(self, stopped: Callable[..., bool]) -> Iterable[dict]:
        batches = itertools.islice(self._open_batches(), self._num_batches)
        for number, batch in enumerate(batches):
            place = f"batch {number} of the averaged weights' statistics"
            if stopped(place, slow=number == 0):
                return
            arrays = {name: batch[name] for name in ("image", "source")}
            yield put_batch(arrays, self._mesh)
