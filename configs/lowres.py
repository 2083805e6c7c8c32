"""The seed study's DenseNet-121 at low resolution: 512 px, its flatten head, Adam 0.01, binary cross entropy.

Source: project page of manthan2305/HPA-Image-Classification: macro F1 39.87 %, on its own split.
Assumed, since the page does not say: 30 epochs, batch 32 (the study's was 4, on one GPU: too few for batch norm over a
TPU slice), crops of 80 to 100 % of the side, turns by up to 30 degrees. ImageNet weights are not loaded.
Expected: not measured here; this row needs an accelerator and the challenge's data. Cost: 92 GFLOP an image and step.
Command: python -m hpa_jax.main --config=configs/lowres.py --config.data.data_dir=DATA --workdir=RUN
"""

from hpa_jax.config import Augment, Config, Data, Model, Optim, Train


def get_config() -> Config:
    return Config(
        data=Data(name="kaggle_512", image_size=512, batch_size=32),
        model=Model(name="densenet121", head="seed", dropout=0.5),
        augment=Augment(flips=True, rotate_degrees=30.0, scale=(0.8, 1.0), shift=0.1),
        optim=Optim(name="adam", lr=0.01),
        train=Train(epochs=30.0, loss="bce"),
    )
