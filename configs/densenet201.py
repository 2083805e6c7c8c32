"""The baseline's DenseNet-201: lowres.py with the deeper net.

Source: project page of manthan2305/HPA-Image-Classification: macro F1 38.25 %, on its own split.
Assumed, since the page does not say: what lowres.py assumes.
Expected: not measured here; this row needs an accelerator and the challenge's data. The baseline
starts from ImageNet weights, as the command does; without --config.model.pretrained it starts from
random ones.
Command: python -m hpa_jax.main --config=configs/densenet201.py --config.data.data_dir=DATA \\
  --workdir=RUN --config.model.pretrained=keras_densenet201
"""

from configs import lowres
from hpa_jax.config import Config


def get_config() -> Config:
    config = lowres.get_config()
    config.model.name = "densenet201"
    return config
