"""lowres.py on the first nine labels alone: labels 0 to 8, and images that have one of them.

Source: project page of manthan2305/HPA-Image-Classification: macro F1 60.12 %, on its own split.
Expected: not measured here; this row needs an accelerator and the challenge's data.
Command: python -m hpa_jax.main --config=configs/lowres_first_nine.py \\
  --config.data.data_dir=DATA --workdir=RUN --config.model.pretrained=keras_densenet121
"""

from configs import lowres
from hpa_jax.config import Config
from hpa_jax.labels import FIRST_NINE


def get_config() -> Config:
    config = lowres.get_config()
    config.data.labels = FIRST_NINE
    return config
