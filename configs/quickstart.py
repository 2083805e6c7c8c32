"""Quickstart: DenseNet-121 from scratch on the synthetic dataset, in minutes on two CPU cores.

Source: none; synthetic images are drawn by tfds_builder/hpa/synthetic and say nothing about real
proteins. Their patterns are meant to be told apart at 64 px; real images need 512 px and more.
Expected: macro F1 0.70 on the test split, in five minutes (docs/results.md).
Command: launch/local.sh quickstart
"""

from hpa_jax.config import Augment, Config, Data, Model, Optim, Train
from hpa_jax.sweep import Choice, Range


def get_config() -> Config:
    return Config(
        data=Data(name="synthetic", batch_size=16, threads=2),
        model=Model(head="linear", dropout=0.0, dtype="float32"),
        augment=Augment(flips=True),
        optim=Optim(lr=4e-3, schedule="cosine_onecycle"),
        train=Train(steps=500, eval_every=125, log_every=10, prior_bias=True),
    )


def search_space() -> dict[str, Range | Choice]:
    return {
        "optim.lr": Range(5e-4, 2e-2, log=True),
        "optim.b1": Choice((0.8, 0.9, 0.95)),
        "optim.schedule": Choice(("constant", "cosine_decay", "cosine_onecycle")),
    }
