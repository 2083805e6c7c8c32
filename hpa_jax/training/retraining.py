"""The backbone of a finished run, for a new head: classifier re-training (cRT).

What a net has learnt to see in images whose labels are as common as they are is better than what it
learns from images drawn by rare labels; only its decisions lean toward common labels. So the
backbone is kept, batch statistics included, and a head is trained anew on class-balanced draws.

References:
  Kang et al. 2020, Decoupling Representation and Classifier for Long-Tailed Recognition,
  arXiv:1910.09217, section 4.
"""

import jax
import numpy as np
from jax.sharding import Mesh

from hpa_jax.config import Config
from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError
from hpa_jax.pretrained import Loaded
from hpa_jax.training.backbone_reader import read_backbone
from hpa_jax.training.finished_run import OF_ITS_IMAGES, FinishedRun

_SETTING = "config.train.retrain_head"

# Of the section `model`: which backbone it is.
_OF_A_BACKBONE = ("name", "tile")


class BackboneSource:
    """The run that `config.train.retrain_head` names.

    Attributes:
      learned: uint64, the `id_hashes` of the images that it has learnt from.

    Args:
      config: of the run that re-trains, with a resolved `data` section.
      learned: the `id_hashes` of the images that it learns from itself.
      eval_ids: of the images that it is evaluated on.

    Raises:
      InputError: there is no such run; its backbone is for another net or other images; or it has
        learnt from images that the new run holds out.
    """

    def __init__(self, config: Config, learned: np.ndarray, eval_ids: list[str]):
        folder = local_path(config.train.retrain_head, "config.train.retrain_head")
        if config.model.pretrained:
            raise InputError(
                f"{_SETTING}={str(folder)!r} and "
                f"config.model.pretrained={config.model.pretrained!r}: the backbone can start from "
                "one of them; set the other to ''"
            )
        self._run = FinishedRun(folder, _SETTING)
        self._run.check_same(config, "model", _OF_A_BACKBONE)
        self._run.check_same(config, "data", OF_ITS_IMAGES)
        self.learned = self._run.learned_ids()
        self._run.check_held_out(config.data, learned, eval_ids)

    def load(self, variables: dict, mesh: Mesh) -> tuple[dict, Loaded]:
        """Puts the run's backbone, of its best checkpoint, in place of a drawn one.

        Args:
          variables: `{'params', 'batch_stats'}` as they are drawn, on the host; the head stays.
          mesh: of the devices.

        Returns:
          A new tree of the same structure, and its description.

        Raises:
          InputError: there is no checkpoint, or it is damaged.
        """
        backbone = read_backbone(self._run, mesh)
        merged = {}
        for collection, arrays in variables.items():
            merged[collection] = dict(arrays)
            if backbone.variables[collection]:
                merged[collection]["backbone"] = backbone.variables[collection]
        loaded = Loaded(
            source=str(self._run.folder),
            file=backbone.file,
            sha256=backbone.sha256,
            layout="run",
            arrays=len(jax.tree.leaves(backbone.variables)),
            head="left",
            stem="the backbone stays as it is, and the head is new",
        )
        return merged, loaded
