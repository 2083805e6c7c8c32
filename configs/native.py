"""DenseNet-121 on images as they were taken, 2048 or 3072 px: best_512.py at native resolution.

Source: as best_512.py; no published result with one net at this size is known. Images of 2048 and
3072 px are side by side in the data, so the host resizes them to one size (the recipe's 3072;
--config.data.image_size=2048 for the other).
Assumed: what best_512.py assumes; that eight images are enough for batch norm, since each has 36
times the places.
Expected: not measured here; this row needs accelerators and the full-size data (the builder's
--config=kaggle_full).
Cost: 3.4 TFLOP per image and step, and 0.4 to zoom it. A step of one image, DenseNet-121 with the
pooled head, holds 11.1 GiB on a TPU v5e chip and 1.9 GiB a chip where eight share it
(docs/results.md). Where there are more chips than images in a batch, as few as need be share an
image (config.devices.space=0), at most those of one host: the command is the same on 8 to 32
chips of a v5e. With --config.data.batch_size=1 all eight chips of a v5e-8 share each image.
Command: python -m hpa_jax.main --config=configs/native.py --config.data.data_dir=DATA \\
  --workdir=RUN --config.model.pretrained=torchvision_densenet121
On one GPU or chip: --config.data.batch_size=1 --config.optim.accumulate=8
--config.model.block=remat, which computes again what it does not hold (on a TPU fused holds least,
1.7 GiB); with less memory than that, tile by tile, with learned weights of the tiles for each
label:
--config.model.head=attention --config.model.tile=512 --config.data.batch_size=8
"""

from configs import best_512
from hpa_jax.config import Config


def get_config() -> Config:
    config = best_512.get_config()
    config.data.name = "kaggle_full"
    config.data.image_size = 3072
    config.data.batch_size = 8
    return config
