"""The cells of a dataset's split: --mode=segment, to DIR/segmentation.

Which images they are say config.data.name and eval_split, how they are found config.segment.
Images are as config.data.image_size makes them; 0 leaves them as they are stored.
"""

from pathlib import Path

import numpy as np

from hpa_jax.config import Config, Data
from hpa_jax.data.pipeline import NEW_ASPECT, open_split
from hpa_jax.errors import InputError
from hpa_jax.images.folder import FaultyImage
from hpa_jax.serving.segment.methods import check_packages, open_segmenter
from hpa_jax.serving.segment.request import SegmentRequest

FOLDER = "segmentation"
"""Of the results, in a run's folder."""


class SplitFields:
    """The images of a split; see `fields.Fields`.

    Args:
      data: names the dataset, the split `eval_split`, and the size.

    Raises:
      InputError: there is no such dataset or split.
    """

    def __init__(self, data: Data):
        self._dataset = open_split(data, data.eval_split, labels_needed=False)
        self.where = f"{data.name}, split {data.eval_split}"
        self.layout = f"at {data.image_size} px" if data.image_size else "as stored"
        self.ids = self._dataset.original_ids()
        if len(set(self.ids)) < len(self.ids):
            self.ids = self._dataset.ids()
        self.settings = {
            "dataset": data.name,
            "split": data.eval_split,
            "image_size": data.image_size,
            "aspect": data.aspect or NEW_ASPECT,
        }
        self._fingerprint = self._dataset.fingerprint()

    def read(self, number: int) -> np.ndarray:
        """See `fields.Fields`."""
        try:
            return self._dataset.image(number)
        except InputError as error:
            raise FaultyImage(self.ids[number], "", str(error)) from None

    def stamp(self, number: int) -> str:
        """See `fields.Fields`; that of all images of the split."""
        return self._fingerprint


def segment_split(config: Config, out: Path) -> None:
    """Finds the cells of every image of `config.data.eval_split`.

    Args:
      config: its sections `data` and `segment`.
      out: folder in which FOLDER is made.

    Raises:
      InputError: anything that another call or other files put right.
    """
    check_packages()
    # It imports what was just looked for.
    from hpa_jax.serving.segment.run import segment_fields

    settings = config.segment
    request = SegmentRequest(
        out=out / FOLDER,
        method=settings.method,
        weights=Path(settings.weights) if settings.weights else None,
        scale=settings.scale or None,
        masks=Path(settings.masks) if settings.masks else None,
        format=settings.format,
        policy=settings.policy,
        threads=config.data.threads,
    )
    segmenter = open_segmenter(request)
    segment_fields(request, SplitFields(config.data), segmenter)
