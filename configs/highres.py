"""The baseline's DenseNet-121 at high resolution: as lowres.py, at 1024 px.

Source: project page of manthan2305/HPA-Image-Classification: macro F1 40.25 %, on its own split.
The page says 3600 px, which no published image has; any size is set with
--config.data.image_size, up to 1248 px with this row's flatten head. Larger ones, up to the
images' native 3072 px, take --config.model.head=pooled: configs/native.py. Assumed, since the
page does not say: what lowres.py assumes.
Expected: not measured here; this row needs an accelerator and the challenge's full-size data
(--config=kaggle_full of the builder, with --edge=1024).
Cost: four times lowres.py; the flatten head has 67 million parameters at 1024 px. Blocks are
fused: the same numbers and parameters from fewer bytes (docs/results.md, by the TPU compiler's
count; no TPU and no GPU has run the kernels yet: --config.model.block=plain is the way back, in
the middle of a run too).
A batch of 32 is sharded over up to 32 chips; on 64 and more, so is the height of each image.
Command: python -m hpa_jax.main --config=configs/highres.py --config.data.data_dir=DATA \\
  --workdir=RUN --config.model.pretrained=keras_densenet121
Trial without a download: python -m tfds_builder.hpa --config=synthetic --size=1024 --images=32
  --data_dir=DATA, then the command above with --config.data.name=synthetic_1024
  --config.data.batch_size=2 --config.train.steps=3
"""

from configs import lowres
from hpa_jax.config import Config


def get_config() -> Config:
    config = lowres.get_config()
    config.data.name = "kaggle_full_1024"
    config.data.image_size = 1024
    config.model.block = "fused"
    return config
