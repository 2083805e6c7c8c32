"""A recipe in PyTorch: MONAI's DenseNet on the very batches of hpa_jax; the peer of `learning.py`.

    python benchmarks/learning_peer.py --config=FILE --workdir=DIR [--config.SECTION.FIELD=VALUE]

The flags are those of `python -m hpa_jax.main`; what this program does not know is refused by name.
Shared with hpa_jax: the order of the images, reading them, and the channel statistics. Everything
after the batch is PyTorch's own (learning_peer_net.py has net, optimizer and averaged weights).
Random initial values are drawn from the same distributions, not from the same stream.

Writes metrics.jsonl, and for each kind of test-time augmentation TTA/scores.npy, TTA/targets.npy
and TTA/groups.npy of the test split.
"""

import dataclasses
import itertools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import checkout  # noqa: F401
import numpy as np
import torch
from command_line import run
from learning_peer_net import (
    SCHEDULES,
    EmaNet,
    build_net,
    build_optimizer,
    net_parameters,
    symmetries,
)
from learning_recipes import PLAIN, SYMMETRIES
from torch.nn import functional
from tqdm import tqdm

from hpa_jax.config import Config, differences
from hpa_jax.data import pipeline
from hpa_jax.data.loader import eval_batches, train_batches
from hpa_jax.environment.program import run_program
from hpa_jax.errors import EXIT_OK, InputError
from hpa_jax.recipes import parse
from hpa_jax.transforms.channel_mix import parse_channel_mix

# What may differ from the defaults of hpa_jax.config: fields that this program honors, and fields
# that do not touch the result.
HONORED = """
data.data_dir data.name data.image_size data.batch_size data.sampling data.repeat_threshold
data.rare_below data.rare_copies data.threads data.channel_mix
model.name model.head model.dropout model.dtype model.stem
augment.flips
optim.name optim.lr optim.schedule optim.schedule_options optim.weight_decay optim.clip
optim.backbone_lr
train.steps train.epochs train.seed train.loss train.prior_bias train.ema train.ema_batches
train.log_every train.eval_every
checkpoint.metric checkpoint.keep
evaluate.tta evaluate.fill_empty
""".split()
VIEWS = {PLAIN: 1, SYMMETRIES: 8}
SOFTMAX = "softmax_cross_entropy"
"""The loss of images with one label each; their scores are a softmax."""


def check(config: Config) -> None:
    """Raises InputError for a recipe that would not be the same here."""
    for name, (_, value) in differences(Config(), config).items():
        if name not in HONORED:
            raise InputError(
                f"config.{name}={value!r} is not in the PyTorch peer; leave it at its default"
            )
    supported = {
        "model.name": net_parameters(config.model.name) is not None,
        "model.head": config.model.head == "linear",
        "model.dtype": config.model.dtype == "float32",
        "optim.name": config.optim.name == "adamw",
        "optim.schedule": config.optim.schedule in SCHEDULES,
        "train.steps": config.train.steps > 0,
        "train.loss": config.train.loss in ("bce", SOFTMAX),
        "train.prior_bias": not (config.train.prior_bias and config.train.loss == SOFTMAX),
        "data.channel_mix": selected_channels(config) is not None,
    }
    for name, is_supported in supported.items():
        if not is_supported:
            section, field = name.split(".")
            value = getattr(getattr(config, section), field)
            raise InputError(
                f"config.{name}={value!r} is not in the PyTorch peer; "
                f"see `check` in {Path(__file__).name}"
            )


def selected_channels(config: Config) -> list[int] | None:
    """Which stored channel each input of the net is; None where one is a mixture."""
    selected = []
    for row in parse_channel_mix(config.data.channel_mix):
        if sorted(row) != [0, 0, 0, 1]:
            return None
        selected.append(row.index(1))
    return selected


def prepare(images: np.ndarray, config: Config) -> torch.Tensor:
    """`uint8 [B, H, W, 4]` to the net's channels, normalized: `float32 [B, C, H, W]`."""
    channels = selected_channels(config)
    planes = torch.from_numpy(images[..., channels]).permute(0, 3, 1, 2).float()
    mean = torch.tensor(config.data.mean)[channels, None, None]
    std = torch.tensor(config.data.std)[channels, None, None]
    return (planes / 255 - mean) / std


def loss_of(logits: torch.Tensor, targets: torch.Tensor, config: Config) -> torch.Tensor:
    """The recipe's loss of logits and 0/1 targets, float32 `[B, L]` each."""
    if config.train.loss == SOFTMAX:
        return functional.cross_entropy(logits, targets.argmax(dim=1))
    return functional.binary_cross_entropy_with_logits(logits, targets)


def scores_of(logits: torch.Tensor, config: Config) -> torch.Tensor:
    """Probabilities of logits `[B, L]`."""
    if config.train.loss == SOFTMAX:
        return torch.softmax(logits, dim=1)
    return torch.sigmoid(logits)


def train(config: Config, workdir: Path) -> torch.nn.Module:
    """Trains by the recipe.

    Args:
      config: with a resolved `data` section.
      workdir: for metrics.jsonl.

    Returns:
      The net that is to be evaluated.
    """
    dataset = pipeline.open_sources(config.data)
    order = pipeline.make_order(config.data, dataset, config.train.seed)
    batches = train_batches(
        dataset, order, batch_size=config.data.batch_size, threads=config.data.threads
    )
    frequencies = None
    if config.train.prior_bias:
        frequencies = dataset.targets().mean(axis=0)
    channels = len(selected_channels(config))
    labels = len(config.label_ids())
    net = build_net(config.model, frequencies, labels, config.train.seed, channels)
    optimizer, schedule = build_optimizer(net, config.optim, config.train.steps)
    ema = None
    if config.train.ema:
        ema = EmaNet(net, config.train.ema)
    generator = torch.Generator().manual_seed(config.train.seed)

    steps = config.train.steps
    first_batches = itertools.islice(batches, steps)
    bar = tqdm(first_batches, total=steps, unit="step", disable=None)
    with open(workdir / "metrics.jsonl", "w", encoding="utf-8") as log:
        for step, batch in enumerate(bar, start=1):
            images = prepare(batch["image"], config)
            if config.augment.flips:
                drawn = torch.randint(0, VIEWS[SYMMETRIES], (len(images),), generator=generator)
                images = symmetries(images, drawn)
            logits = net(images.contiguous(memory_format=torch.channels_last))
            targets = torch.from_numpy(batch["targets"]).float()
            loss = loss_of(logits, targets, config)
            optimizer.zero_grad()
            loss.backward()
            if config.optim.clip:
                torch.nn.utils.clip_grad_norm_(net.parameters(), config.optim.clip)
            optimizer.step()
            schedule.step()
            if ema:
                ema.update(net)
            if step % config.train.log_every == 0 or step == steps:
                _log_loss(log, step, loss.item())
    if not ema:
        return net.eval()
    more = itertools.islice(batches, config.train.ema_batches)
    return ema.estimate_statistics(prepare(batch["image"], config) for batch in more)


def _log_loss(log: TextIO, step: int, loss: float) -> None:
    if not math.isfinite(loss):
        raise InputError(f"the loss is {loss} at step {step}: lower config.optim.lr")
    record = {"step": step, "split": "train", "loss": loss}
    print(json.dumps(record), file=log, flush=True)


@torch.no_grad()
def score(net: torch.nn.Module, config: Config, views: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the test split, means over the first `views` symmetries, and its targets.

    Returns:
      float32 `[N, L]` and uint8 `[N, L]`.
    """
    scores = []
    targets = []
    for batch in _test_batches(config):
        images = prepare(batch["image"], config)
        total = 0
        for which in range(views):
            view = symmetries(images, torch.full((len(images),), which))
            total = total + scores_of(net(view), config)
        mask = batch["mask"]
        scores.append((total / views).numpy()[mask])
        targets.append(batch["targets"][mask])
    return np.concatenate(scores), np.concatenate(targets)


def _test_batches(config: Config) -> Iterator[dict]:
    dataset = pipeline.open_split(config.data, "test")
    return eval_batches(dataset, batch_size=64, threads=config.data.threads)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if "-h" in arguments or "--help" in arguments:
        print(__doc__)
        return EXIT_OK
    return run(lambda: train_and_score(arguments))


def train_and_score(arguments: Sequence[str]) -> None:
    """Trains, and writes the arrays of scores and targets."""
    _, workdir, config = parse(arguments)
    check(config)
    config = dataclasses.replace(config, data=pipeline.resolve_data(config.data))
    workdir.mkdir(parents=True, exist_ok=True)
    net = train(config, workdir)
    groups = pipeline.open_split(config.data, "test").groups()
    for tta, views in VIEWS.items():
        folder = workdir / tta
        folder.mkdir(exist_ok=True)
        scores, targets = score(net, config, views)
        np.save(folder / "scores.npy", scores)
        np.save(folder / "targets.npy", targets)
        np.save(folder / "groups.npy", groups)


if __name__ == "__main__":
    run_program(main)
