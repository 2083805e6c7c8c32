"""What the field has learned, put together at 512 px: DenseNet-121 on all four channels.

For one GPU or a v5e-8.

Source: what the challenge's best did (CellProfiling/HPA-competition-solutions): four channels,
pooled head, clipped gradients, images with rare labels shown more often, a threshold for each
label, the eight symmetries at test time; the nearest published result with one net is
avipartho/kaggle_human_protein: 0.546 (private leaderboard; DenseNet-121, 512 px, binary cross
entropy, oversampling, the public Atlas as further data, 5 folds, test-time augmentation with 4).
Searched, on synthetic images of real frequencies in runs of four epochs from random weights
(docs/results.md, "What searching brought"): a learning rate that stays as high as it is, since the
weights are averaged, and weight decay. A long run may gain by a decay at its end:
--config.optim.schedule=cosine_decay.
Assumed, since no source fixes them for this combination: the learning rates themselves, length,
batch size, the moving average of the weights.
Expected: not measured here on real data, which needs an accelerator; on synthetic data
docs/results.md has this recipe, with another head and learning rate, beside the baseline's, and
what each part of it brings.
Cost: 92 GFLOP per image and step, 40 epochs of 22,400 images; 15 GB for a batch of 64 on
one GPU (with less memory: --config.data.batch_size=16 --config.optim.accumulate=4).
Command: python -m hpa_jax.main --config=configs/best_512.py --config.data.data_dir=DATA \\
  --workdir=RUN --config.model.pretrained=torchvision_densenet121
With the public Atlas as well, the largest known gain (build hpav18 --edge=512 first, then
kaggle_512 --match_splits_of=hpav18_512):
  --config.data.sources="('kaggle_512','hpav18_512')"
Five folds: the command with --config.data.fold=0 to 4 and a folder each, then
  python -m hpa_jax.main --mode=evaluate --workdir=RUNS \\
    --config.evaluate.runs=RUN0,RUN1,RUN2,RUN3,RUN4
"""

from hpa_jax.config import Augment, Checkpoint, Config, Data, Evaluate, Model, Optim, Train
from hpa_jax.sweep import Choice, Range


def get_config() -> Config:
    return Config(
        data=Data(
            name="kaggle_512",
            image_size=512,
            batch_size=64,
            channel_mix="rgby",
            sampling="repeat_factor",
            threads=8,
        ),
        model=Model(name="densenet121", head="pooled", dropout=0.5, stem="copy_red"),
        augment=Augment(flips=True, scale=(0.7, 1.1), shift=0.1),
        optim=Optim(
            name="adamw",
            lr=1e-3,
            schedule="constant",
            weight_decay=1.7e-3,
            clip=1.0,
            backbone_lr=0.5,
        ),
        train=Train(epochs=40.0, loss="bce", prior_bias=True, ema=0.999),
        checkpoint=Checkpoint(metric="macro_average_precision"),
        evaluate=Evaluate(tta="symmetries", fill_empty=True),
    )


def search_space() -> dict[str, Range | Choice]:
    return {
        "optim.lr": Range(3e-4, 1e-1, log=True),
        "optim.weight_decay": Range(1e-4, 1e-1, log=True),
        "optim.backbone_lr": Range(0.1, 1.0, log=True),
        "optim.schedule": Choice(("constant", "cosine_decay", "warmup_cosine_decay")),
        "train.ema": Choice((0.0, 0.99, 0.999)),
    }
