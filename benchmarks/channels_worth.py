"""What a generated channel is worth to a classifier: part `worth` of `channels.py`.

A classifier that has learnt from all four channels is asked about the test split with one of them
replaced: by itself (nothing is missing), by black, by the ridge regression's, by the net's. Once it
has seen black in its place before (channel dropout), once never.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import checkout  # noqa: F401
import learning_recipes
import numpy as np
from channels_net import channel_maker
from generated_channels import net_run
from learning_recipes import PLAIN, Run
from learning_runs import run_all
from learning_statistics import mean, t_interval

from hpa_jax.data.catalog import load_dataset
from hpa_jax.evaluation.channel_figures import NET, RIDGE
from hpa_jax.evaluation.predictor import load_run
from hpa_jax.labels import CHANNELS
from hpa_jax.metrics import channel_baselines
from hpa_jax.metrics.classification import macro_f1

IMAGED = "the channel itself"
BLACK = "black"
CLASSIFIERS = {
    "all channels": ("best", ()),
    "channel dropout": ("best_channel_dropout", ("--config.augment.channel_dropout=0.2",)),
}
"""What each has seen in training: the name of its runs, and flags on top of the recipe `best`.

The first are those of learning.py."""

FITTED_ON = 200
"""Training images of the ridge regression."""

Make = Callable[[np.ndarray], np.ndarray]
"""Of images uint8 [N, H, W, 4] to a channel of them, uint8 [N, H, W]."""


def measure(
    scale: learning_recipes.Scale,
    folder: Path,
    data_dir: Path,
    *,
    target: str,
    seeds: int,
    jobs: int,
) -> list[dict]:
    """Rows of macro F1 with what is in the target's place.

    Args:
      scale: of the classifiers and their data.
      folder: of the runs.
      data_dir: of the datasets.
      target: name of the channel that is missing.
      seeds: of each classifier.
      jobs: trainings at a time.
    """
    runs = []
    for seed in range(seeds):
        for name in CLASSIFIERS:
            runs.append(_run(scale, seed, name))
    net = net_run(scale)
    run_all([*runs, net], data_dir, folder, jobs)
    test = load_dataset(data_dir, scale.dataset, split="test")
    images = np.stack([test.image(number) for number in range(len(test))])
    place_of_target = CHANNELS.index(target)
    makers = {
        BLACK: lambda images: np.zeros_like(images[..., 0]),
        RIDGE: _ridge(data_dir, scale.dataset, target),
        NET: channel_maker(folder / "runs" / net.name, target),
    }
    shown = {IMAGED: images}
    for name, make in makers.items():
        shown[name] = images.copy()
        shown[name][..., place_of_target] = make(images)
    rows = []
    for name in CLASSIFIERS:
        for place, images in shown.items():
            values = []
            for seed in range(seeds):
                run = _run(scale, seed, name)
                predictor = load_run(folder / "runs" / run.name, "latest")
                decided = predictor.decide(predictor(images))
                values.append(float(macro_f1(decided, test.targets() > 0)))
            rows.append({"classifier": name, "in_its_place": place, "seeds": values})
    return rows


def _run(scale: learning_recipes.Scale, seed: int, classifier: str) -> Run:
    name, flags = CLASSIFIERS[classifier]
    return learning_recipes.best(scale, seed, *flags, name=name, tta=(PLAIN,))


def _ridge(data_dir: Path, name: str, target: str) -> Make:
    dataset = load_dataset(data_dir, name, split="train")
    numbers = np.unique(np.linspace(0, len(dataset) - 1, FITTED_ON).astype(int))
    sums = [channel_baselines.sums_of(dataset.image(number)) for number in numbers.tolist()]
    others = [channel for channel in CHANNELS if channel not in (target, "green")]
    ridge = channel_baselines.fit_ridge(channel_baselines.total(sums), target, others)
    return lambda images: np.stack([np.rint(ridge(image)).astype(np.uint8) for image in images])


def markdown(rows: Sequence[dict], target: str) -> str:
    """The rows as a table."""
    lines = [
        f"| the classifier has seen | in the place of {target} | macro F1 | each seed |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        shown = f"{mean(row['seeds']):.3f}"
        interval = t_interval(row["seeds"])
        if interval is not None:
            shown += f" ({interval[0]:.3f} to {interval[1]:.3f})"
        seeds = " ".join(f"{value:.3f}" for value in row["seeds"])
        lines.append(f"| {row['classifier']} | {row['in_its_place']} | {shown} | {seeds} |")
    return "\n".join(lines)
