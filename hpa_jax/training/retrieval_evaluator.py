"""Evaluates embeddings between two steps of a run: retrieval across groups on a split.

Notes:
- every process has the embeddings of all images and ranks them all: what comes out is the same
  everywhere, and nothing has to be exchanged but the embeddings;
- the split is searched by itself. Its groups are those that training has not seen, and an image's
  own group is never searched (`hpa_jax/metrics/retrieval.py`).
"""

from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from hpa_jax.data.dataset import ImageDataset
from hpa_jax.metrics.retrieval import mean_metrics, retrieve
from hpa_jax.parallel.mesh import put_replicated
from hpa_jax.training.evaluation_loop import EvaluationBatches, EvaluationProgram


class RetrievalEvaluator:
    """Computes retrieval metrics of weights on a split.

    Args:
      dataset: the images to evaluate on.
      mesh: of the devices.
      embed_step: of `metric_steps.make_embed_step`.
      embedding_size: values of an embedding.
      split: name of the split, which is kept with the metrics.
      relevance: as of `hpa_jax.metrics.retrieval.retrieve`.
      batch_size: images per step, over all processes.
      threads: that decode.
      advice: what to do where the step does not fit into memory.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        mesh: Mesh,
        embed_step: jax.stages.Wrapped,
        *,
        embedding_size: int,
        split: str,
        relevance: str,
        batch_size: int,
        threads: int,
        advice: str,
    ):
        self._dataset = dataset
        self._mesh = mesh
        self._shape = (batch_size, embedding_size)
        self._split = split
        self._relevance = relevance
        self._batches = EvaluationBatches(
            dataset, mesh, ("image",), batch_size=batch_size, threads=threads
        )
        self._program = EvaluationProgram(embed_step, mesh, advice)

    def __call__(self, variables: dict, stopped: Callable[..., bool]) -> dict | None:
        """`hpa_jax.metrics.retrieval.METRICS`, `queries`, `relevance` and `evaluated_split`.

        Args:
          variables: `{'params', 'batch_stats'}`, on the devices.
          stopped: whether to leave off; asked before each batch.

        Returns:
          None if it was stopped.

        Raises:
          NoRoom: the step does not fit into memory.
        """
        embeddings = self._embed(variables, stopped)
        # Slow: of many images each is compared with each.
        if embeddings is None or stopped("the ranking of an evaluation", slow=True):
            return None
        found = retrieve(
            embeddings,
            self._dataset.targets(),
            self._dataset.groups(),
            relevance=self._relevance,
        )
        facts = {"relevance": self._relevance, "evaluated_split": self._split}
        return mean_metrics(found) | facts

    def _embed(self, variables: dict, stopped: Callable[..., bool]) -> np.ndarray | None:
        before = put_replicated(np.zeros(self._shape, np.float32), self._mesh)
        found = []
        for batch in self._batches(stopped):
            if batch is None:
                return None
            before = self._program(before, variables, batch)
            found.append(np.asarray(before))
        # The last batch is filled up.
        return np.concatenate(found)[: len(self._dataset)]
