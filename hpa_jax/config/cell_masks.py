"""The section `cell_masks`: a net that finds each cell (`config.train.task="cell_masks"`)."""

from dataclasses import dataclass

from hpa_jax.config.setting import setting


def _is_tile(side: int) -> bool:
    return side % 32 == 0 and 64 <= side <= 2048


def _are_diameters(diameters: tuple[float, ...]) -> bool:
    return not diameters or (len(diameters) == 3 and 0 < min(diameters) <= max(diameters))


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
    tile: int = setting(
        256,
        "px a side of the tiles that an export takes, in which larger fields are seen one after "
        "another; a multiple of 32",
        accepts=_is_tile,
        allowed="multiples of 32 from 64 to 2048",
    )
    nucleus_diameters: tuple[float, ...] = setting(
        (),
        "px: of nuclei in train_split, as segmentation.nuclei measures them, the smallest tenth, "
        "the median, the largest tenth, of fields. A field with others is scaled to the median. "
        "(): measured when the run is started",
        accepts=_are_diameters,
        allowed="three ascending numbers above 0, or none",
    )
    eval_fields: int = setting(
        32,
        "fields of data.eval_split, at most, whose masks are made and compared at an evaluation",
        at_least=1,
    )
