"""What the learning benchmarks train, on what, and how it is scored: recipes as flags of `python -m hpa_jax.main`.

`seed` is configs/lowres.py, the seed study's, and `best` configs/best_512.py; only what the size asks for is changed: a
smaller net of the same parts on 64 px from random weights. `peer` is `best` in PyTorch (learning_peer.py).

The data: as many synthetic fields as the challenge's train.csv, each label as often as there, from 12,885 down to 11.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hpa_jax.labels import TRAIN_COUNTS

FIELDS_OF_TRAIN_CSV = 31_072


@dataclass(frozen=True)
class Scale:
    """How much is trained on how much; `net` is one of hpa_jax.models.BACKBONES, `steps` of `batch` fields."""

    fields: int = FIELDS_OF_TRAIN_CSV
    size: int = 64
    test: float = 0.3
    folds: int = 8
    net: str = "densenet_small"
    steps: int = 2400
    batch: int = 32

    @property
    def dataset(self) -> str:
        return f"learning_{self.fields}_{self.size}"

    def build_flags(self) -> tuple[str, ...]:
        """Of `python -m tfds_builder.hpa`, but for --data_dir."""
        given = {
            "config": "synthetic",
            "name": self.dataset,
            "frequencies": "real",
            "fields": self.fields,
        }
        given |= {"size": self.size, "test": self.test, "folds": self.folds}
        return tuple(f"--{name}={value}" for name, value in given.items())

    def rare_below(self) -> int:
        """The study's nine rarest labels, among so many fewer fields: 350 of train.csv's, in proportion."""
        return max(
            2,
            round(350 * self.fields * (1 - self.test) * (1 - 1 / self.folds) / FIELDS_OF_TRAIN_CSV),
        )

    def expected(self, share: float) -> dict[int, float]:
        """Fields that bear each label in a part of `share` of all, were the labels spread evenly."""
        return {
            label: count * self.fields / FIELDS_OF_TRAIN_CSV * share
            for label, count in enumerate(TRAIN_COUNTS)
        }


QUICK = Scale(fields=240, size=32, test=0.25, folds=4, net="densenet_tiny", steps=4, batch=16)
"""Seconds, for tests: does it run?"""


@dataclass(frozen=True)
class Run:
    """One training and its scores on the test part.

    Attributes:
      name: of its folder and row.
      program: hpa_jax.main or learning_peer.
      recipe: file of configs/.
      flags: on top of it.
      views: each one of config.evaluate.tta; the test part is scored with each.
      checkpoint: config.evaluate.checkpoint; the last step's or the one that validation chose.
      scoring: further flags of --mode=evaluate.
      steps: of the training.
    """

    name: str
    program: str
    recipe: str
    flags: tuple[str, ...]
    views: tuple[str, ...]
    checkpoint: str
    scoring: tuple[str, ...]
    steps: int


FILLED = (
    "--config.evaluate.fill_empty=True",
)  # as configs/best_512.py; the peer's scores know no recipe


def _flags(**sections: dict) -> tuple[str, ...]:
    return tuple(
        f"--config.{s}.{name}={value}"
        for s, fields in sections.items()
        for name, value in fields.items()
    )


def _sized(scale: Scale) -> tuple[str, ...]:
    every = -(-scale.steps // 6)
    return _flags(
        data={
            "name": scale.dataset,
            "image_size": scale.size,
            "batch_size": scale.batch,
            "threads": 2,
        },
        model={"name": scale.net, "dtype": "float32"},
        train={"steps": scale.steps, "eval_every": every, "log_every": 50},
        checkpoint={"keep": 1},
    )


def seed(
    scale: Scale, number: int, *more: str, name: str = "", views: Sequence[str] = ("none",)
) -> Run:
    """The seed study's recipe, with the checkpoint that validation chose: in its favour, since its rate never falls."""
    flags = _flags(data={"rare_below": scale.rare_below()}, train={"seed": number})
    flags = (*_sized(scale), *flags, *more)
    return Run(
        f"{name or 'seed'}_{number}",
        "hpa_jax.main",
        "configs/lowres.py",
        flags,
        tuple(views),
        "best",
        (),
        scale.steps,
    )


def best(
    scale: Scale,
    number: int,
    *more: str,
    name: str = "",
    views: Sequence[str] = ("none", "symmetries"),
) -> Run:
    """The field's lessons, at the last step: its rate has fallen to 0, so there is nothing to choose."""
    flags = (*_best(scale, number), *more)
    recipe = "configs/best_512.py"
    return Run(
        f"{name or 'best'}_{number}",
        "hpa_jax.main",
        recipe,
        flags,
        tuple(views),
        "latest",
        FILLED,
        scale.steps,
    )


def peer(scale: Scale, number: int) -> Run:
    """`best` in PyTorch: MONAI's DenseNet, the very same batches in the same order."""
    views = ("none", "symmetries")
    return Run(
        f"peer_{number}",
        "learning_peer",
        "configs/best_512.py",
        _best(scale, number),
        views,
        "latest",
        FILLED,
        scale.steps,
    )


def _best(scale: Scale, number: int) -> tuple[str, ...]:
    return _sized(scale) + _flags(
        # A hidden layer and its dropout cost more than they bring in so short a run from random weights.
        model={"head": "linear", "dropout": 0.0},
        augment={"scale": "(1.0,1.0)", "shift": 0.0},
        optim={
            "lr": 4e-3,
            "schedule_options": f'{{"warmup_steps":{max(1, scale.steps // 20)}}}',
            "backbone_lr": 1.0,  # both halves start from random weights
        },
        train={"seed": number, "ema": 0.99},
    )
