"""The section of channels that are filled in from the others."""

from dataclasses import dataclass

from hpa_jax.config.setting import setting


@dataclass(slots=True)
class Channels:
    """A net that fills in channels (train.task=channels), and what --mode=synthesize fills in."""

    targets: str = setting(
        "red,blue,yellow", "channels that the net learns to predict; green only if it is named"
    )
    sources: str = setting(
        "red,blue,yellow",
        "channels that the net is shown, a random subset of them at a time; green, the protein, "
        "only if it is named",
    )
    loss: str = setting(
        "l1,gradient,ms_ssim:0.5",
        "one of hpa_jax.optim.image_losses.IMAGE_LOSSES, or a weighted sum of them",
    )
    crop: int = setting(
        0,
        "px a side of the random square of each image that a training step sees: many small "
        "steps in the place of few large ones; 0: the whole image",
        at_least=32,
        or_zero=True,
    )
    width: int = setting(
        16, "maps of the U-Net's decoder at full resolution", at_least=4, at_most=256
    )
    fill: str = setting(
        "",
        "synthesize: the channels to make, such as yellow; '': those of predict.missing, or of a "
        "dataset those that were not imaged",
    )
    rare_below: int = setting(
        0,
        "synthesize: of a dataset, only images with a label that fewer images of the split than "
        "this have; 0: all images",
        at_least=0,
    )
    baseline_images: int = setting(
        200,
        "synthesize: training images at most, spread evenly, on which the two baselines are "
        "fitted; 0: no baselines",
        at_least=0,
    )
