"""Fits the weight of a fused net's votes before each evaluation, on the images of that.

The parts never move, so the embeddings and the votes of these images are computed once; an
evaluation then takes the head alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from hpa_jax.config import Config
from hpa_jax.data.dataset import ImageDataset
from hpa_jax.data.loader import eval_batches
from hpa_jax.metrics.vote_weight import VoteWeight, fit_vote_weight
from hpa_jax.models import FusionNet
from hpa_jax.parallel.mesh import process_slice, put_batch, put_replicated, replicated
from hpa_jax.training.state import TrainState, eval_variables
from hpa_jax.training.vote_bank import BANK
from hpa_jax.transforms.augment import prepare
from hpa_jax.transforms.normalize import preparation


class VoteFitter:
    """Fits the weight on the images that training evaluates.

    Args:
      config: of the run, resolved.
      model: in its plain form, with votes.
      dataset: the images to evaluate on, none of which the run learns from.
      mesh: of the devices.
    """

    def __init__(self, config: Config, model: FusionNet, dataset: ImageDataset, mesh: Mesh):
        self._config = config
        self._model = model
        self._dataset = dataset
        self._mesh = mesh
        self._embeddings: np.ndarray | None = None
        self._head = jax.jit(self._apply_head, out_shardings=replicated(mesh))

    def __call__(self, state: TrainState, stopped) -> tuple[TrainState, VoteWeight] | None:
        """The state with the weight fitted, and what it brings.

        Args:
          state: before an evaluation.
          stopped: whether to leave off; asked before each batch.

        Returns:
          None if it was stopped.
        """
        variables = eval_variables(state)
        if self._embeddings is None:
            self._embeddings = self._embed(variables, stopped)
            if self._embeddings is None:
                return None
        scores, votes = self._scores_and_votes(variables)
        settings = self._config.evaluate
        found = fit_vote_weight(
            scores,
            votes,
            self._dataset.targets(),
            single_label=self._model.single_label,
            folds=settings.folds,
            seed=settings.seed,
            groups=self._dataset.groups(),
            few_positives=settings.few_positives,
        )
        params = self._with_weight(state.params, found.weight)
        average = state.average
        if average is not None:
            average = average.replace(params=self._with_weight(average.params, found.weight))
        return state.replace(params=params, average=average), found

    def _with_weight(self, params: dict, weight: float) -> dict:
        # An array for each tree, since a step donates each only once.
        array = put_replicated(np.full(1, weight, np.float32), self._mesh)
        bank = params["backbone"][BANK] | {"weight": array}
        return params | {"backbone": params["backbone"] | {BANK: bank}}

    def _apply_head(self, variables: dict, embeddings: jax.Array) -> tuple[jax.Array, jax.Array]:
        # An embedding is a feature map of one position.
        maps = embeddings[:, jnp.newaxis, jnp.newaxis]
        logits, votes = self._model.apply(variables, maps, method="logits_and_votes")
        if self._model.single_label:
            return jax.nn.softmax(logits), votes
        return jax.nn.sigmoid(logits), votes

    def _scores_and_votes(self, variables: dict) -> tuple[np.ndarray, np.ndarray]:
        """float32 `[N, L]` each."""
        size = self._config.data.batch_size
        scores = []
        votes = []
        for start in range(0, len(self._embeddings), size):
            some = put_replicated(self._embeddings[start : start + size], self._mesh)
            of_scores, of_votes = self._head(variables, some)
            scores.append(np.asarray(of_scores))
            votes.append(np.asarray(of_votes))
        count = len(self._dataset)
        return np.concatenate(scores)[:count], np.concatenate(votes)[:count]

    def _embed(self, variables: dict, stopped) -> np.ndarray | None:
        """Embeddings of all images and of the padding after them, `float32 [M, F]`."""
        data = self._config.data
        prepared = preparation(data)

        def embed(variables: dict, images: jax.Array) -> jax.Array:
            images = prepare(images, **prepared)
            features = self._model.apply(variables, images, train=False, method="features")
            return jnp.mean(features, axis=(1, 2))

        step = jax.jit(embed, out_shardings=replicated(self._mesh))
        batches = eval_batches(
            self._dataset, batch_size=data.batch_size, threads=data.threads, **process_slice()
        )
        found = []
        silent = True if jax.process_index() else None
        total = len(self._dataset)
        with tqdm(total=total, unit="image", desc="votes", disable=silent, leave=False) as bar:
            for number, batch in enumerate(batches):
                if stopped(f"batch {number} of the votes", slow=number == 0):
                    return None
                images = put_batch({"image": batch["image"]}, self._mesh)["image"]
                found.append(np.asarray(step(variables, images)))
                bar.update(int(batch["mask"].sum()))
        return np.concatenate(found)
