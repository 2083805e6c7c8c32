"""What the learning benchmarks train, on what, and how it is scored.

A recipe is flags of `python -m hpa_jax.main`. `hpa_densenet` is configs/lowres.py, that of the
baseline study, and `best` is configs/best_512.py; only what the size asks for is changed: a smaller
net of the same parts on 64 px from random weights. `peer` is `best` in PyTorch (learning_peer.py).

The data: as many synthetic images as the challenge's train.csv has, each label as often as there,
from 12,885 times down to 11.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from challenge import TRAIN_IMAGES

from hpa_jax.labels import TRAIN_COUNTS

RARE_IN_TRAIN_CSV = 350
"""The nine labels of fewer images are the ones that the baseline repeats."""

PLAIN = "none"
SYMMETRIES = "symmetries"


@dataclass(frozen=True)
class Scale:
    """How much is trained on how much.

    Attributes:
      images: of the dataset.
      size: px a side.
      test: fraction of the images in the test split.
      folds: of the others; one is for validation.
      net: one of hpa_jax.models.BACKBONES.
      steps: of each run.
      batch: images a step.
    """

    images: int = TRAIN_IMAGES
    size: int = 64
    test: float = 0.3
    folds: int = 8
    net: str = "densenet_small"
    steps: int = 2400
    batch: int = 32

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return f"learning_{self.images}_{self.size}"

    @property
    def train_fraction(self) -> float:
        """Of the images, those to train on."""
        return (1 - self.test) * (1 - 1 / self.folds)

    @property
    def held_out_fraction(self) -> float:
        """Of the images, those for validation and testing."""
        return 1 - self.train_fraction

    def build_flags(self) -> tuple[str, ...]:
        """For `python -m tfds_builder.hpa`, without --data_dir."""
        return (
            "--config=synthetic",
            f"--name={self.dataset}",
            "--frequencies=real",
            f"--images={self.images}",
            f"--size={self.size}",
            f"--test={self.test}",
            f"--folds={self.folds}",
        )

    def rare_below(self) -> int:
        """The baseline's nine rarest labels among so many fewer images."""
        train_images = self.images * self.train_fraction
        return max(2, round(RARE_IN_TRAIN_CSV * train_images / TRAIN_IMAGES))

    def expected_counts(self, fraction: float) -> dict[int, float]:
        """Images with each label in a split of that fraction of all, if labels spread evenly."""
        scale = self.images / TRAIN_IMAGES * fraction
        return {label: count * scale for label, count in enumerate(TRAIN_COUNTS)}


QUICK = Scale(images=240, size=32, test=0.25, folds=4, net="densenet_tiny", steps=4, batch=16)
"""Seconds, for tests: does it run?"""


@dataclass(frozen=True)
class Run:
    """One training and its scores on the test split.

    Attributes:
      name: of its folder and row.
      program: hpa_jax.main or learning_peer.
      recipe: file of configs/.
      flags: on top of it.
      tta: values of config.evaluate.tta; the test split is scored with each.
      checkpoint: config.evaluate.checkpoint; the last step's or the one that validation chose.
      scoring: further flags of --mode=evaluate.
      steps: of the training.
      eval_split: that is scored.
    """

    name: str
    program: str
    recipe: str
    flags: tuple[str, ...]
    tta: tuple[str, ...]
    checkpoint: str
    scoring: tuple[str, ...]
    steps: int
    eval_split: str = "test"


FILL_EMPTY = ("--config.evaluate.fill_empty=True",)
"""As in configs/best_512.py; named since an evaluation of the peer's scores knows no recipe."""


def config_flags(section: str, values: Mapping) -> tuple[str, ...]:
    """Flags that set fields of a section of the configuration."""
    return tuple(f"--config.{section}.{name}={value}" for name, value in values.items())


def _size_flags(scale: Scale) -> tuple[str, ...]:
    data = {
        "name": scale.dataset,
        "image_size": scale.size,
        "batch_size": scale.batch,
        "threads": 2,
    }
    train = {"steps": scale.steps, "eval_every": -(-scale.steps // 6), "log_every": 50}
    return (
        *config_flags("data", data),
        *config_flags("model", {"name": scale.net, "dtype": "float32"}),
        *config_flags("train", train),
        *config_flags("checkpoint", {"keep": 1}),
    )


def _best_flags(scale: Scale, seed: int) -> tuple[str, ...]:
    optim = {
        "lr": 4.7e-3,
        "backbone_lr": 0.74,  # searched along with lr; both halves start from random weights
    }
    return (
        *_size_flags(scale),
        # In so short a run from random weights a hidden layer and its dropout cost more than they
        # bring in.
        *config_flags("model", {"head": "linear", "dropout": 0.0}),
        *config_flags("augment", {"scale": "(1.0,1.0)", "shift": 0.0}),
        *config_flags("optim", optim),
        *config_flags("train", {"seed": seed, "ema": 0.99}),
    )


def hpa_densenet(
    scale: Scale, seed: int, *more: str, name: str = "hpa_densenet", tta: Sequence[str] = (PLAIN,)
) -> Run:
    """The baseline's recipe.

    Scored at the checkpoint that validation chose, to its advantage: its learning rate never falls.
    """
    flags = (
        *_size_flags(scale),
        *config_flags("data", {"rare_below": scale.rare_below()}),
        *config_flags("train", {"seed": seed}),
        *more,
    )
    return Run(
        name=f"{name}_{seed}",
        program="hpa_jax.main",
        recipe="configs/lowres.py",
        flags=flags,
        tta=tuple(tta),
        checkpoint="best",
        scoring=(),
        steps=scale.steps,
    )


def best(
    scale: Scale,
    seed: int,
    *more: str,
    name: str = "best",
    tta: Sequence[str] = (PLAIN, SYMMETRIES),
) -> Run:
    """What the challenge's solutions have taught.

    Scored at the last step: averaged weights leave little to choose.
    """
    return Run(
        name=f"{name}_{seed}",
        program="hpa_jax.main",
        recipe="configs/best_512.py",
        flags=(*_best_flags(scale, seed), *more),
        tta=tuple(tta),
        checkpoint="latest",
        scoring=FILL_EMPTY,
        steps=scale.steps,
    )


def peer(scale: Scale, seed: int) -> Run:
    """`best` in PyTorch: MONAI's DenseNet, the very same batches in the same order."""
    return Run(
        name=f"peer_{seed}",
        program="learning_peer",
        recipe="configs/best_512.py",
        flags=_best_flags(scale, seed),
        tta=(PLAIN, SYMMETRIES),
        checkpoint="latest",
        scoring=FILL_EMPTY,
        steps=scale.steps,
    )
