"""The section `cell_masks`: a net that finds each cell (`config.train.task="cell_masks"`)."""

from dataclasses import dataclass

from hpa_jax.config.setting import setting


@dataclass(slots=True)
class CellMasks:
    """A U-Net whose encoder is model.name, and how its masks are judged while it is trained."""

    width: int = setting(16, "channels of the decoder at full resolution", at_least=4, at_most=256)
    distance_weight: float = setting(
        2.0,
        "weight in the loss of the two maps of distances, relative to those of what is a cell and "
        "what a nucleus",
        above=0,
        at_most=100,
    )
    eval_fields: int = setting(
        32,
        "fields of data.eval_split, at most, whose masks are made and compared at an evaluation",
        at_least=1,
    )
