"""How good the masks of a U-Net are, between two steps of a run.

The devices make the maps; the masks are made of them and compared on the host, of a few fields
since that takes longer. With several processes each of them does it for all of those fields: maps
are replicated, and the counts come out alike.
"""

from collections.abc import Callable, Iterator

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from hpa_jax.data.dataset import ImageDataset
from hpa_jax.parallel.mesh import replicated
from hpa_jax.segmentation.from_maps import from_maps
from hpa_jax.segmentation.measures import (
    add_jaccard,
    add_matches,
    aggregated_jaccard,
    match,
    overlaps,
)
from hpa_jax.segmentation.targets import target_maps
from hpa_jax.training.evaluation_loop import EvaluationBatches, EvaluationProgram
from hpa_jax.training.steps import make_score_step

METRICS = ("ap50", "ap75", "aji", "nuclei_ap50", "map_fit")
"""Average precision of cells at IoU 0.5 and 0.75, their aggregated Jaccard index, average precision
of nuclei at 0.5, and 1 - the mean absolute difference of the maps."""


class MapEvaluator:
    """Computes METRICS of weights on the first fields of a split.

    Args:
      dataset: of fields with masks.
      mesh: of the devices.
      map_step: of `make_map_step`.
      batch_size: fields per step, over all processes.
      threads: that decode.
      fields: how many are compared, at most.
      advice: what to do where the step does not fit into memory.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        mesh: Mesh,
        map_step: jax.stages.Wrapped,
        *,
        batch_size: int,
        threads: int,
        fields: int,
        advice: str,
    ):
        self._fields = fields
        self._batches = EvaluationBatches(
            dataset,
            mesh,
            ("image", "masks", "mask"),
            batch_size=batch_size,
            threads=threads,
            most=-(-min(fields, len(dataset)) // batch_size),
        )
        self._program = EvaluationProgram(map_step, mesh, advice)

    def __call__(self, variables: dict, stopped: Callable[..., bool]) -> dict | None:
        """METRICS by name.

        Args:
          variables: `{'params', 'batch_stats'}`, on the devices.
          stopped: whether to leave off; asked before each batch.

        Returns:
          None if it was stopped.

        Raises:
          NoRoom: the step does not fit into memory.
        """
        compared = []
        for batch in self._batches(stopped):
            if batch is None:
                return None
            compared += map(compare, *self._maps(variables, batch))
        return summarize(compared[: self._fields])

    def _maps(self, variables: dict, batch: dict) -> tuple[Iterator, Iterator]:
        """The maps and the masks of the fields of a batch, of all processes."""
        maps, masks, is_field = jax.device_get(self._program(variables, batch))
        return maps[is_field], masks[is_field]


def make_map_step(model: nn.Module, output: str, preparation: dict, mesh: Mesh):
    """The step of an evaluation.

    Args:
      model: in its plain form.
      output: name of its output.
      preparation: keyword arguments of `prepare`.
      mesh: of the devices.

    Returns:
      A jitted function of variables and a batch (`image` uint8 `[B, H, W, 4]`, `masks` uint16
      `[B, H, W, 2]`, `mask` bool `[B]`) to maps, float32 `[B, H, W, 4]`, 0 to 1, and the batch's
      own masks and mask, all of them replicated.
    """
    score_step = make_score_step(model, preparation=preparation, mesh=mesh)

    def map_step(variables: dict, batch: dict) -> tuple[jax.Array, jax.Array, jax.Array]:
        maps = jax.nn.sigmoid(score_step(variables, batch["image"])[output])
        return maps, batch["masks"], batch["mask"]

    return jax.jit(map_step, out_shardings=replicated(mesh))


def compare(maps: np.ndarray, masks: np.ndarray) -> tuple:
    """What adds up over fields.

    Args:
      maps: float32 [H, W, 4], of a net.
      masks: uint16 [H, W, 2], the truth.

    Returns:
      matches of cells at 0.5 and at 0.75, the sums of their aggregated Jaccard index, matches of
      nuclei at 0.5, and how well the maps fit.
    """
    found = from_maps(maps)
    of_cells = overlaps(masks[..., 0], found.cells)
    of_nuclei = overlaps(masks[..., 1], found.nuclei)
    fit = 1 - float(np.abs(maps - target_maps(masks)).mean())
    return (
        match(of_cells, 0.5),
        match(of_cells, 0.75),
        aggregated_jaccard(of_cells),
        match(of_nuclei, 0.5),
        fit,
    )


def summarize(compared: list[tuple]) -> dict[str, float]:
    """METRICS of fields, each as of `compare`."""
    at_50, at_75, jaccard, nuclei, fits = zip(*compared, strict=True)
    return {
        "ap50": add_matches(at_50).average_precision,
        "ap75": add_matches(at_75).average_precision,
        "aji": add_jaccard(jaccard).index,
        "nuclei_ap50": add_matches(nuclei).average_precision,
        "map_fit": float(np.mean(fits)),
    }
