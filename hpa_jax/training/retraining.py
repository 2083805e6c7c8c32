"""The backbone of a finished run, for a new head: classifier re-training (cRT).

What a net has learnt to see in images whose labels are as common as they are is better than what it
learns from images drawn by rare labels; only its decisions lean toward common labels. So the
backbone is kept, batch statistics included, and a head is trained anew on class-balanced draws.

References:
  Kang et al. 2020, Decoupling Representation and Classifier for Long-Tailed Recognition,
  arXiv:1910.09217, section 4.
"""

import hashlib
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from hpa_jax.config import Config, Data
from hpa_jax.data.identity import id_hashes
from hpa_jax.errors import InputError
from hpa_jax.pretrained import Loaded
from hpa_jax.training import components, manifest
from hpa_jax.training.checkpoint import Checkpoints
from hpa_jax.training.state import TrainState, eval_variables
from hpa_jax.workdir import read_config, read_learned_ids, read_record

_SETTING = "config.train.retrain_head"

# Of the sections `model` and `data`: what a backbone's weights are for.
_OF_A_BACKBONE = {
    "model": ("name", "tile"),
    "data": (
        "image_size",
        "aspect",
        "channel_mix",
        "mean",
        "std",
        "input_mean",
        "input_std",
    ),
}


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
        self._folder = Path(config.train.retrain_head)
        if config.model.pretrained:
            raise InputError(
                f"{_SETTING}={str(self._folder)!r} and "
                f"config.model.pretrained={config.model.pretrained!r}: the backbone can start from "
                "one of them; set the other to ''"
            )
        if not (self._folder / "config.json").is_file():
            raise InputError(
                f"{_SETTING}={str(self._folder)!r} holds no run (no config.json); give the folder "
                "of a finished one"
            )
        self._config = read_config(self._folder)
        self._check_same_backbone(config)
        found = read_learned_ids(self._folder)
        if found is None:
            raise InputError(
                f"{_SETTING}={str(self._folder)!r} does not tell which images it has learnt from: "
                "it is of version 0.2 or before; --mode=verify --config.verify.seal=True writes "
                "that down where its data are there"
            )
        self.learned = found
        self._check_held_out(config.data, learned, eval_ids)

    def _check_same_backbone(self, config: Config) -> None:
        for section, names in _OF_A_BACKBONE.items():
            for name in names:
                before = getattr(getattr(self._config, section), name)
                now = getattr(getattr(config, section), name)
                if before != now:
                    raise InputError(
                        f"{_SETTING}={str(self._folder)!r} is a run with "
                        f"config.{section}.{name}={before!r}, now {now!r}; set it as there"
                    )

    def _check_held_out(self, data: Data, learned: np.ndarray, eval_ids: list[str]) -> None:
        # What the new run learns from and is evaluated on, it was told to.
        held_out = np.setdiff1d(id_hashes(eval_ids), learned)
        count = int(np.isin(held_out, self.learned).sum())
        if count:
            raise InputError(
                f"{_SETTING}={str(self._folder)!r} has learnt from {count} of the {len(eval_ids)} "
                f"images of {data.eval_split} that this run would be evaluated on; set "
                f"config.data.fold={self._config.data.fold} and the splits as there"
            )

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
        checkpoints = Checkpoints(
            self._folder / "checkpoints",
            metric=self._config.checkpoint.metric,
            run_id=read_record(self._folder).id,
        )
        if not checkpoints.steps():
            raise InputError(
                f"{_SETTING}={str(self._folder)!r} has no checkpoint yet; give the folder of a "
                "finished run"
            )
        step = checkpoints.choose("best")
        path = checkpoints.path(step)
        try:
            state = checkpoints.read(step, self._abstract_state(mesh))
        except manifest.DamagedCheckpoint as error:
            raise InputError(
                f"{_SETTING}={str(self._folder)!r}: its best checkpoint, {path}, is damaged: "
                f"{error}; put it back from a copy"
            ) from error
        restored = jax.device_get(eval_variables(state))
        checkpoints.close()
        merged = {}
        for collection, arrays in variables.items():
            merged[collection] = dict(arrays)
            if "backbone" in restored[collection]:
                merged[collection]["backbone"] = restored[collection]["backbone"]
        backbones = [collection.get("backbone", {}) for collection in restored.values()]
        loaded = Loaded(
            source=str(self._folder),
            file=f"checkpoints/{step}",
            sha256=hashlib.sha256((path / manifest.FILE_NAME).read_bytes()).hexdigest(),
            layout="run",
            arrays=len(jax.tree.leaves(backbones)),
            head="left",
            stem="the backbone stays as it is, and the head is new",
        )
        return merged, loaded

    def _abstract_state(self, mesh: Mesh) -> TrainState:
        # What is None is not read: Adam's state is twice as large as the net.
        state = components.Setup(self._config, mesh).abstract_state()
        return state.replace(opt_state=None)
