"""A net of single cells, trained on fields: their labels are weak ones, weighed by attention.

Source: gated attention of Ilse et al. 2018, arXiv:1802.04712, over the cells of a field
(hpa_jax/models/cell_attention.py); no cell is labelled, and none gets a copy of its field's labels.
On drawn fields of 64 px with exact masks; a cell is about 24 px there, and has a window of 32.
Expected: docs/cell_by_cell.md.
Command:
  python -m tfds_builder.hpa --config=synthetic --masks --name=synthetic_masks --data_dir=data
  python -m hpa_jax.main --config=configs/cells.py --config.data.data_dir=data --workdir=runs/cells
"""

from hpa_jax.config import Augment, Cells, Config, Data, Model, Optim, Train


def get_config() -> Config:
    return Config(
        data=Data(name="synthetic_masks", image_size=32, batch_size=16, threads=2),
        model=Model(head="linear", dropout=0.0, dtype="float32"),
        augment=Augment(flips=True),
        optim=Optim(lr=4e-3, schedule="cosine_onecycle"),
        train=Train(task="cells", steps=500, eval_every=125, log_every=10, prior_bias=True),
        cells=Cells(per_field=12, window="32"),
    )
