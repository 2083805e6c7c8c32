"""A channel that was not imaged from the others: one U-Net for any subset of red, blue and yellow.

For one GPU; on two cores with a smaller net, see below.

Source: a regression U-Net is the form that localises best among published nets for this (DynaCell,
VisCy: generative ones give better populations, and are less robust). Losses: Zhao et al. 2017,
arXiv:1511.08861, for L1 with MS-SSIM.
Assumed, since no source fixes them for this combination: the weights of the losses, learning rate,
length, batch size.
Expected: of the small net below, on 77 real fields in five folds, mean Pearson 0.743 for yellow
from red and blue, where ridge regression on blurred channels has 0.734; for blue from red and
yellow 0.785 and 0.553 (docs/channels.md). This net was not trained.
Command: python -m hpa_jax.main --config=configs/channels.py --config.data.data_dir=DATA \\
  --workdir=RUN
On two cores: --config.model.name=densenet_small --config.model.dtype=float32
--config.channels.crop=128 --config.data.batch_size=4 --config.train.steps=3000
Then: python -m hpa_jax.main --mode=synthesize --workdir=RUN --config.channels.fill=yellow
"""

from hpa_jax.config import Augment, Channels, Checkpoint, Config, Data, Model, Optim, Train
from hpa_jax.sweep import Choice, Range


def get_config() -> Config:
    return Config(
        data=Data(name="kaggle_512", image_size=256, batch_size=16, threads=4),
        model=Model(name="densenet121"),
        augment=Augment(flips=True, scale=(0.8, 1.25), shift=0.1),
        optim=Optim(name="adamw", lr=3e-3, schedule="cosine_onecycle", weight_decay=1e-4, clip=1.0),
        train=Train(task="channels", epochs=40.0, ema=0.99),
        channels=Channels(
            targets="red,blue,yellow", sources="red,blue,yellow", loss="l1,pearson:0.3"
        ),
        checkpoint=Checkpoint(metric="pearson"),
    )


def search_space() -> dict[str, Range | Choice]:
    return {
        "optim.lr": Range(3e-4, 1e-2, log=True),
        "channels.loss": Choice(("l1,gradient,ms_ssim:0.5", "l1,pearson", "l1,ms_ssim")),
        "channels.width": Choice((16, 32)),
    }
