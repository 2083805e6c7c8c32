"""The baseline's Inception-ResNet-v2: lowres.py with that net, whose ImageNet weights take -1 to 1.

Source: project page of manthan2305/HPA-Image-Classification: macro F1 33.54 %, on its own split.
Assumed, since the page does not say: what lowres.py assumes, and that the inputs were scaled as the
weights expect.
Expected: not measured here; this row needs an accelerator and the challenge's data. The baseline
starts from ImageNet weights, as the command does; without --config.model.pretrained it starts from
random ones.
Command: python -m hpa_jax.main --config=configs/inception_resnet_v2.py \\
  --config.data.data_dir=DATA --workdir=RUN --config.model.pretrained=keras_inception_resnet_v2
"""

from configs import lowres
from hpa_jax.config import Config


def get_config() -> Config:
    config = lowres.get_config()
    config.model.name = "inception_resnet_v2"
    config.data.input_mean = config.data.input_std = (0.5, 0.5, 0.5)
    return config
