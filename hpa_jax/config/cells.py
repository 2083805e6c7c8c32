"""The section `cells`: a net that learns from single cells (`config.train.task="cells"`)."""

from dataclasses import dataclass

from hpa_jax.config.setting import setting


@dataclass(slots=True)
class Cells:
    """Which cells of a field are shown to the net, how, and how their logits become the field's."""

    per_field: int = setting(
        16, "cells of a field, at most: whole ones first", at_least=1, at_most=1024
    )
    window: str = setting(
        "box",
        "what a crop shows: box (each cell fills it), a side in px of the stored fields, field or "
        "repeat (docs/cell_by_cell.md); data.image_size is the side of a crop that the net takes",
    )
    keep_neighbours: bool = setting(False, "other cells in a crop are not made black")
    masks: str = setting(
        "",
        "folder of label images named by Ids, such as --mode=segment writes; '': the masks that "
        "the dataset was built with",
        path="one",
    )
    attention_width: int = setting(
        128, "values of the gated attention that weighs the cells", at_least=1, at_most=4096
    )
