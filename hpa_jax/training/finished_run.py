"""A finished run whose backbone another run takes: what it is, and whether it fits."""

from pathlib import Path

import numpy as np

from hpa_jax.config import Config, Data
from hpa_jax.data.identity import id_hashes
from hpa_jax.errors import InputError
from hpa_jax.workdir import read_config, read_learned_ids

# Of the section `data`: which images a backbone's weights are for.
OF_ITS_IMAGES = (
    "image_size",
    "aspect",
    "channel_mix",
    "mean",
    "std",
    "input_mean",
    "input_std",
)


class FinishedRun:
    """A run's folder, as a setting names it.

    Attributes:
      folder: of the run.
      config: of the run, resolved.
      named: the setting and its value, for messages.

    Args:
      folder: of the run.
      setting: `config.SECTION.FIELD`, for messages.

    Raises:
      InputError: there is no such run.
    """

    def __init__(self, folder: Path, setting: str):
        self.folder = folder
        self.named = f"{setting}={str(folder)!r}"
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{self.named} holds no run (no config.json); give the folder of a finished one"
            )
        self.config = read_config(folder)

    def check_same(self, config: Config, section: str, names: tuple[str, ...]) -> None:
        """Refuses a run with other values of these settings than `config` has.

        Raises:
          InputError: names the first of them.
        """
        for name in names:
            before = getattr(getattr(self.config, section), name)
            now = getattr(getattr(config, section), name)
            if before != now:
                raise InputError(
                    f"{self.named} is a run with config.{section}.{name}={before!r}, "
                    f"now {now!r}; set it as there"
                )

    def learned_ids(self) -> np.ndarray:
        """uint64, the `id_hashes` of the images that the run has learnt from.

        Raises:
          InputError: the run does not tell.
        """
        found = read_learned_ids(self.folder)
        if found is None:
            raise InputError(
                f"{self.named} does not tell which images it has learnt from: it is of version "
                "0.2 or before; --mode=verify --config.verify.seal=True writes that down where its "
                "data are there"
            )
        return found

    def check_held_out(self, data: Data, learned: np.ndarray, eval_ids: list[str]) -> None:
        """Refuses a run that has learnt from what another one holds out.

        Args:
          data: of the other run.
          learned: the `id_hashes` of the images that it learns from itself.
          eval_ids: of the images that it is evaluated on.

        Raises:
          InputError: says how many these are.
        """
        # What the new run learns from and is evaluated on, it was told to.
        held_out = np.setdiff1d(id_hashes(eval_ids), learned)
        count = int(np.isin(held_out, self.learned_ids()).sum())
        if count:
            raise InputError(
                f"{self.named} has learnt from {count} of the {len(eval_ids)} images of "
                f"{data.eval_split} that this run would be evaluated on; set "
                f"config.data.fold={self.config.data.fold} and the splits as there"
            )
