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
from channels_net import Scale, channel_maker, train
from learning_recipes import PLAIN
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
    "all channels": (),
    "channel dropout": ("--config.augment.channel_dropout=0.2",),
}
"""What each has seen in training, and its flags on top of the recipe `best`."""

FITTED_ON = 200
"""Training images of the ridge regression."""

Make = Callable[[np.ndarray], np.ndarray]
"""Of images uint8 [N, H, W, 4] to a channel of them, uint8 [N, H, W]."""


def measure(
    scale: learning_recipes.Scale,
    net: Scale,
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
      net: of the net that fills in.
      folder: of the runs.
      data_dir: of the datasets.
      target: name of the channel that is missing.
      seeds: of each classifier.
      jobs: trainings at a time.
    """
    runs = []
    for seed in range(seeds):
        for name, flags in CLASSIFIERS.items():
            prefix = f"classifier_{name.replace(' ', '_')}"
            runs.append(learning_recipes.best(scale, seed, *flags, name=prefix, tta=(PLAIN,)))
    run_all(runs, data_dir, folder, jobs)
    workdir = train(folder / "runs" / "channels_net", data_dir, scale.dataset, net)
    test = load_dataset(data_dir, scale.dataset, split="test")
    images = np.stack([test.image(number) for number in range(len(test))])
    place_of_target = CHANNELS.index(target)
    makers = {
        BLACK: lambda images: np.zeros_like(images[..., 0]),
        RIDGE: _ridge(data_dir, scale.dataset, target),
        NET: channel_maker(workdir, target),
    }
    shown = {IMAGED: images}
    for name, make in makers.items():
        shown[name] = images.copy()
        shown[name][..., place_of_target] = make(images)
    rows = []
    for name in CLASSIFIERS:
        prefix = f"classifier_{name.replace(' ', '_')}"
        for place, images in shown.items():
            values = []
            for seed in range(seeds):
                predictor = load_run(folder / "runs" / f"{prefix}_{seed}", "latest")
                decided = predictor.decide(predictor(images))
                values.append(float(macro_f1(decided, test.targets() > 0)))
            rows.append({"classifier": name, "in_its_place": place, "seeds": values})
    return rows


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
