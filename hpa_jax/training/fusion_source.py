"""The backbones of the runs that a fused net is made of.

They are read once, at the first start; from then on they lie in the run's own checkpoints.
"""

import hashlib

import jax
import numpy as np
from jax.sharding import Mesh

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.models import part_names
from hpa_jax.pretrained import Loaded
from hpa_jax.training.backbone_reader import read_backbone
from hpa_jax.training.finished_run import OF_ITS_IMAGES
from hpa_jax.training.fusion import SETTING, open_runs


class FusionSource:
    """The backbones of the runs.

    Attributes:
      learned: uint64, the `id_hashes` of the images that they have learnt from.

    Args:
      config: of the fused run, resolved.
      learned: the `id_hashes` of the images that it learns from itself.
      eval_ids: of the images that it is evaluated on.

    Raises:
      InputError: no such runs; one of another net, or for other images; or one that has learnt from
        images that the fused run holds out.
    """

    def __init__(self, config: Config, learned: np.ndarray, eval_ids: list[str]):
        self._config = config
        self._runs = open_runs(config)
        nets = tuple(run.config.model.name for run in self._runs)
        if nets != config.fusion.parts:
            raise InputError(
                f"{SETTING} has runs of {', '.join(nets)}, and config.fusion.parts names "
                f"{', '.join(config.fusion.parts)}; leave config.fusion.parts out"
            )
        found = []
        for run in self._runs:
            run.check_same(config, "data", OF_ITS_IMAGES)
            run.check_held_out(config.data, learned, eval_ids)
            found.append(run.learned_ids())
        self.learned = np.unique(np.concatenate(found))

    def load(self, variables: dict, mesh: Mesh) -> tuple[dict, Loaded]:
        """Puts the runs' backbones, each of its best checkpoint, in place of drawn ones.

        Args:
          variables: `{'params', 'batch_stats'}` of the fused net as they are drawn, on the host;
            the head stays.
          mesh: of the devices.

        Returns:
          A new tree of the same structure, and its description.

        Raises:
          InputError: a run has no checkpoint, or it is damaged.
        """
        merged = {}
        for collection, arrays in variables.items():
            merged[collection] = arrays | {"backbone": dict(arrays.get("backbone", {}))}
        files = {}
        count = 0
        for run, name in zip(self._runs, part_names(self._config.fusion.parts), strict=True):
            part = read_backbone(run, mesh)
            for collection, arrays in part.variables.items():
                if arrays:
                    merged[collection]["backbone"][name] = arrays
            files[f"{run.folder}/{part.file}"] = part.sha256
            count += len(jax.tree.leaves(part.variables))
        digests = "\n".join(files.values())
        loaded = Loaded(
            source=self._config.fusion.runs,
            file="their best checkpoints",
            sha256=hashlib.sha256(digests.encode()).hexdigest(),
            layout="runs",
            arrays=count,
            head="left",
            stem="the backbones stay as they are, and the head is new",
            parts=files,
        )
        return merged, loaded
