"""The baseline `hpa_densenet` at low resolution: DenseNet-121, 512 px, flatten head, Adam 0.01.

Source: project page of manthan2305/HPA-Image-Classification: macro F1 39.87 %, on its own split.
Assumed, since the page does not say: 30 epochs, batch 32 (the page has 4, on one GPU: too few for
batch norm over a TPU slice), crops of 80 to 100 % of the side, rotations by up to 30 degrees; the
third of its channel mixes (the others: --config.data.channel_mix=hpa_densenet_i or
hpa_densenet_ii), which labels are rare, how often their images are repeated, and that the
backbone's learning rate is the head's.
Expected: not measured here; this row needs an accelerator and the challenge's data. The baseline
starts from ImageNet weights, as the command does; without --config.model.pretrained it starts from
random ones.
Cost: 92 GFLOP per image and step.
Command: python -m hpa_jax.main --config=configs/lowres.py --config.data.data_dir=DATA \\
  --workdir=RUN --config.model.pretrained=keras_densenet121
"""

from hpa_jax.config import Augment, Config, Data, Model, Optim, Train
from hpa_jax.transforms.channel_mix import IMAGENET


def get_config() -> Config:
    mean, std = IMAGENET
    return Config(
        data=Data(
            name="kaggle_512",
            image_size=512,
            batch_size=32,
            channel_mix="hpa_densenet_iii",
            input_mean=mean,
            input_std=std,
            sampling="hpa_densenet",
        ),
        model=Model(name="densenet121", head="hpa_densenet", dropout=0.5),
        augment=Augment(
            flips=True, rotate_degrees=30.0, scale=(0.8, 1.0), shift=0.1, only_rare=True
        ),
        optim=Optim(name="adam", lr=0.01),
        train=Train(epochs=30.0, loss="bce"),
    )
