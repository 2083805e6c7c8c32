"""A U-Net that finds each cell, trained on drawn fields whose masks are exactly known.

Source: none. Fields are drawn by tfds_builder/hpa/synthetic, varied in size, density, shape, light
and noise (--vary), so that the net carries over to fields that were not drawn (docs/cells_net.md).
It sees red, blue and yellow: the protein in green is in another place of each image.
Expected: AP@0.5 of 0.97 to 0.99 on other drawn fields, after 20 minutes of two cores; 0.83 on two
real ones, where the method without a net has 0.93 (docs/cells_net.md).
Command:
  python -m tfds_builder.hpa --config=synthetic --size=128 --images=4000 --seed=11 --vary --masks \
    --near_duplicates=off --name=cells_128 --data_dir=data
  python -m hpa_jax.main --config=configs/cells_unet.py --workdir=runs/cells_unet
"""

from hpa_jax.config import Augment, CellMasks, Checkpoint, Config, Data, Model, Optim, Train


def get_config() -> Config:
    # The net is given stretched fields (hpa_jax/segmentation/stretch.py), not those of a dataset.
    quarter = (0.25, 0.25, 0.25, 0.25)
    return Config(
        data=Data(
            name="cells_128",
            batch_size=16,
            threads=2,
            channel_mix="red,blue,yellow",
            mean=quarter,
            std=quarter,
        ),
        model=Model(name="densenet_small", dtype="float32"),
        augment=Augment(flips=True, channel_dropout=0.1, contrast=0.2, brightness=0.2),
        optim=Optim(name="adamw", lr=2e-3, schedule="cosine_onecycle", weight_decay=1e-4),
        train=Train(task="cell_masks", epochs=10, log_every=10),
        checkpoint=Checkpoint(metric="ap50"),
        cell_masks=CellMasks(width=16),
    )
