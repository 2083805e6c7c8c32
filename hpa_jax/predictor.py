"""A checkpoint of a run that scores fields: what evaluating, predicting and exporting begin with."""

from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from hpa_jax import assembly
from hpa_jax.checkpoint import Checkpoints
from hpa_jax.config import Config
from hpa_jax.data import eval_batches
from hpa_jax.fields import Fields
from hpa_jax.mesh import by_field, check_batch_size, make_mesh, put_batch
from hpa_jax.steps import make_score_step


class Predictor:
    """A checkpoint of a run, ready to score fields.

    Attributes:
      step: of the checkpoint.
      thresholds: float `[L]`, fitted on `thresholds_split`; 0.5 where the checkpoint was saved without an evaluation.
      thresholds_split: the part they were fitted on, or None.
      variables: `{'params', 'batch_stats'}` on the devices.
    """

    def __init__(self, config: Config, workdir: Path):
        self.config, self.mesh = config, make_mesh()
        check_batch_size(config.data.batch_size, self.mesh)
        checkpoints = Checkpoints(workdir / "checkpoints", metric=config.checkpoint.metric)
        self.step = checkpoints.choose(config.evaluate.checkpoint)
        figures = checkpoints.figures(self.step)
        self.thresholds = np.array(figures.get("thresholds", [0.5] * len(config.label_ids())))
        self.thresholds_split = figures.get("thresholds_split")
        state, _ = assembly.start_state(config, self.mesh, steps=1)
        state = checkpoints.restore(self.step, state)
        checkpoints.close()
        self.variables = {"params": state.params, "batch_stats": state.batch_stats}

    def score(self, fields: Fields) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Ids, scores `float32 [N, L]` and targets `uint8 [N, L]` of all fields, in their order."""
        score_step = make_score_step(assembly.make_model(self.config), preparation=assembly.preparation(self.config))
        score = jax.jit(lambda v, images: jax.nn.sigmoid(score_step(v, images)), out_shardings=by_field(self.mesh))
        ids, scores, targets = [], [], []
        size = self.config.data.batch_size
        with tqdm(total=len(fields), unit="field", desc="score", dynamic_ncols=True, disable=None) as bar:
            for batch in eval_batches(fields, batch_size=size, threads=self.config.data.threads):
                images = put_batch({"image": batch["image"]}, self.mesh)["image"]
                mask = batch["mask"]
                scores.append(np.asarray(score(self.variables, images))[mask])
                ids += [str(i) for i, real in zip(batch["id"], mask, strict=True) if real]
                targets.append(batch["targets"][mask])
                bar.update(int(mask.sum()))
        return ids, np.concatenate(scores), np.concatenate(targets)
