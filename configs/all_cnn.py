"""The baseline's All-CNN at 512 px: plain convolutions, its paper's own head, random weights.

Source: project page of manthan2305/HPA-Image-Classification: macro F1 1.62 %, on its own split.
The net: All-CNN-C of Springenberg et al. 2014 (arXiv:1412.6806), made for 32 px. Assumed, since
the page does not say: everything that lowres.py assumes; the variant C, and its head, which
averages a map of 128 x 128.
Expected: close to nothing, as published (a learning rate of 0.01 is far too high for Adam on a net
without batch norm); not measured here.
Command: python -m hpa_jax.main --config=configs/all_cnn.py --config.data.data_dir=DATA \\
  --workdir=RUN
"""

from configs import lowres
from hpa_jax.config import Config


def get_config() -> Config:
    config = lowres.get_config()
    config.model.name = "all_cnn"
    config.model.head = "all_cnn"
    return config
