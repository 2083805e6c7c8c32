"""The trainings of `hep2.py`: configs/hep2.py on the published split, on five folds, in PyTorch."""

from dataclasses import dataclass, replace

from hep2_data import FOLDS, NUM_FOLDS, PUBLISHED
from learning_recipes import PLAIN, SYMMETRIES, Run, config_flags

RECIPE = "configs/hep2.py"
STEPS = 10000
"""Of configs/hep2.py: 20 minutes of one core."""

FOLD_STEPS = 5000
"""Of each fold: nine minutes of one core."""

CONVNEXT_STEPS = 1000
"""Of a ConvNeXt-T, whose step has 25 times the arithmetic: 33 minutes of one core."""

QUICK_STEPS = 2

_TTA = (PLAIN, SYMMETRIES)


@dataclass(frozen=True)
class Scale:
    """How much is trained.

    Attributes:
      steps: on the published split.
      fold_steps: on each fold.
      convnext: net of the row of a ConvNeXt.
      convnext_steps: of that net, on the published split.
      more: further flags of every run.
    """

    steps: int = STEPS
    fold_steps: int = FOLD_STEPS
    convnext: str = "convnext_tiny"
    convnext_steps: int = CONVNEXT_STEPS
    more: tuple[str, ...] = ()


QUICK = Scale(
    steps=QUICK_STEPS,
    fold_steps=QUICK_STEPS,
    convnext="convnext_test",
    convnext_steps=QUICK_STEPS,
    more=(
        *config_flags("model", {"name": "densenet_tiny"}),
        *config_flags("data", {"image_size": 32}),
        *config_flags("train", {"ema_batches": 1}),
    ),
)
"""A few steps of a tiny net: does it run?"""


def published(scale: Scale, seed: int) -> Run:
    """The recipe on the published split."""
    return Run(
        name=f"published_{seed}",
        program="hpa_jax.main",
        recipe=RECIPE,
        flags=_flags(scale, PUBLISHED, scale.steps, seed),
        tta=_TTA,
        checkpoint="latest",
        scoring=(),
        steps=scale.steps,
    )


def convnext(scale: Scale, seed: int) -> Run:
    """The recipe with a ConvNeXt-T from random weights, on the published split.

    Weight decay and stochastic depth are the paper's (arXiv:2201.03545, table 5), which warms up as
    well. Assumed: the learning rate; the paper's 4e-3 is for batches of 4,096.
    """
    run = published(scale, seed)
    net = {"name": scale.convnext, "head": "norm_linear", "stochastic_depth": 0.1}
    optimizer = {"lr": 5e-4, "weight_decay": 0.05, "schedule": "warmup_cosine_decay"}
    return replace(
        run,
        name=f"convnext_{seed}",
        flags=(
            *_flags(scale, PUBLISHED, scale.convnext_steps, seed),
            *config_flags("model", net),
            *config_flags("optim", optimizer),
        ),
        steps=scale.convnext_steps,
    )


def folds(scale: Scale, seed: int) -> list[Run]:
    """The recipe on the other four folds, scored on each; its last step, so nothing is chosen."""
    runs = []
    for fold in range(NUM_FOLDS):
        run = Run(
            name=f"fold_{fold}_{seed}",
            program="hpa_jax.main",
            recipe=RECIPE,
            flags=(
                *_flags(scale, FOLDS, scale.fold_steps, seed),
                *config_flags("data", {"fold": fold}),
            ),
            tta=_TTA,
            checkpoint="latest",
            scoring=(),
            steps=scale.fold_steps,
            eval_split="validation",
        )
        runs.append(run)
    return runs


def peer(scale: Scale, seed: int) -> Run:
    """The recipe in PyTorch, on the same batches in the same order."""
    return Run(
        name=f"peer_{seed}",
        program="learning_peer",
        recipe=RECIPE,
        flags=_flags(scale, PUBLISHED, scale.steps, seed),
        tta=_TTA,
        checkpoint="latest",
        scoring=config_flags("evaluate", {"single_label": True}),
        steps=scale.steps,
    )


def _flags(scale: Scale, name: str, steps: int, seed: int) -> tuple[str, ...]:
    train = {"steps": steps, "eval_every": -(-steps // 6), "seed": seed}
    return (*config_flags("data", {"name": name}), *config_flags("train", train), *scale.more)
