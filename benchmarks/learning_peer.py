"""A recipe in PyTorch: MONAI's DenseNet on the very batches that hpa_jax trains on; a peer for `learning.py`.

    python benchmarks/learning_peer.py --config=FILE --workdir=DIR [--config.SECTION.FIELD=VALUE ...]

The flags are those of `python -m hpa_jax.main`; what this file does not know is refused by name. Shared with hpa_jax:
the order of the fields, reading them, and the figures of each channel. Everything after the batch is PyTorch's own:
symmetries, net, loss, optimiser, schedule, average of the weights, views. Random starting values are drawn from the
same distributions, not the same stream.

Writes metrics.jsonl, and for each kind of views VIEWS/scores.npy and VIEWS/targets.npy of the test part.
"""

import copy
import itertools
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import DenseNet
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from hpa_jax.config import Config, differences
from hpa_jax.data import pipeline
from hpa_jax.data.loader import eval_batches, train_batches
from hpa_jax.errors import EXIT_BAD_INPUT, EXIT_OK, InputError
from hpa_jax.main import parse
from hpa_jax.models import BACKBONES, prior_bias

# What may differ from the defaults of hpa_jax.config: what this file honours, and what does not touch the result.
HONOURED = (
    *(
        "data.data_dir",
        "data.name",
        "data.image_size",
        "data.batch_size",
        "data.sampling",
        "data.repeat_threshold",
    ),
    *(
        "data.rare_below",
        "data.rare_copies",
        "data.threads",
        "model.name",
        "model.head",
        "model.dropout",
    ),
    *(
        "model.dtype",
        "model.stem",
        "optim.name",
        "optim.lr",
        "optim.schedule",
        "optim.schedule_options",
    ),
    *(
        "optim.weight_decay",
        "optim.clip",
        "train.steps",
        "train.epochs",
        "train.seed",
        "train.prior_bias",
        "train.ema",
    ),
    *(
        "train.ema_batches",
        "train.log_every",
        "train.eval_every",
        "checkpoint.metric",
        "checkpoint.keep",
    ),
    *("evaluate.tta", "evaluate.fill_empty"),
)


def check(config: Config) -> None:
    """Raises InputError for a recipe that would not be the same here."""
    for name, (_, value) in differences(Config(), config).items():
        if name not in HONOURED:
            raise InputError(
                f"config.{name}={value!r} is not in the PyTorch peer; leave it at its default"
            )
    backbone = getattr(BACKBONES.get(config.model.name), "keywords", {})
    fits = {
        "model.name": {"depths", "growth", "stem"} <= set(backbone),
        "model.head": config.model.head == "linear",
        "model.dtype": config.model.dtype == "float32",
        "optim.name": config.optim.name == "adamw",
        "optim.schedule": config.optim.schedule == "warmup_cosine_decay",
        "train.steps": config.train.steps > 0,
    }
    for name, holds in fits.items():
        if not holds:
            section, field = name.split(".")
            value = getattr(getattr(config, section), field)
            raise InputError(
                f"config.{name}={value!r} is not in the PyTorch peer; see `check` in {Path(__file__).name}"
            )


def build_net(config: Config, shares: np.ndarray | None) -> DenseNet:
    """MONAI's DenseNet with our depths, growth and stem; `float32 [B, 4, H, W]` to logits `[B, L]`.

    Kernels are normal with variance 2 / fan_in, biases 0, those of the logits the log-odds of `shares` (float [L]).
    """
    torch.manual_seed(config.train.seed)
    parts = BACKBONES[config.model.name].keywords
    net = DenseNet(
        spatial_dims=2,
        in_channels=4,
        out_channels=len(config.label_ids()),
        init_features=parts["stem"],
        growth_rate=parts["growth"],
        block_config=parts["depths"],
        bn_size=4,
    )
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, torch.nn.BatchNorm2d):
            module.eps, module.momentum = 1.001e-5, 1 - config.model.bn_momentum
    logits = net.class_layers.out
    torch.nn.init.zeros_(logits.bias)
    if shares is not None:
        logits.bias.data = torch.from_numpy(prior_bias(shares))
    net.class_layers.out = torch.nn.Sequential(torch.nn.Dropout(config.model.dropout), logits)
    return net.to(memory_format=torch.channels_last)


def prepared(images: np.ndarray, config: Config) -> torch.Tensor:
    """`uint8 [B, H, W, 4]` to normalised `float32 [B, 4, H, W]`."""
    mean, std = torch.tensor(config.data.mean), torch.tensor(config.data.std)
    return ((torch.from_numpy(images) / 255 - mean) / std).permute(0, 3, 1, 2)


def symmetries(images: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """Of the square, number `which [B]` (0 to 7) of each image: `[B, 4, H, W]`."""

    def where(bit: int, changed: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        return torch.where(((which >> bit) & 1 == 1)[:, None, None, None], changed, images)

    images = where(0, images.flip(2), images)
    images = where(1, images.flip(3), images)
    return where(2, images.transpose(2, 3), images)


def rate(step: int, warmup: int, total: int) -> float:
    """Share of the peak: rises evenly over `warmup` updates, then falls on half a cosine to 0 at `total`."""
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (total - warmup))))


def build_optimizer(net: torch.nn.Module, config: Config) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """PyTorch's AdamW, which lets kernels alone decay, and the schedule that sets its rate before each update."""
    o = config.optim
    kernels = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim == 1]
    groups = [
        {"params": kernels, "weight_decay": o.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=o.lr, betas=(o.b1, o.b2), eps=o.eps)
    warmup = json.loads(o.schedule_options)["warmup_steps"]
    return optimizer, LambdaLR(optimizer, lambda step: rate(step, warmup, config.train.steps))


class Average:
    """The mean of a net's weights after each update, the k-th last one weighing `decay^k`."""

    def __init__(self, net: torch.nn.Module, decay: float):
        self.net, self._decay, self._updates = copy.deepcopy(net), decay, 0

    @torch.no_grad()
    def update(self, net: torch.nn.Module) -> None:
        self._updates += 1
        share = (1 - self._decay) / (1 - self._decay**self._updates)
        for mine, new in zip(self.net.parameters(), net.parameters(), strict=True):
            mine.lerp_(new, share)

    @torch.no_grad()
    def estimate_statistics(self, batches: Iterator[torch.Tensor]) -> torch.nn.Module:
        """The averaged net with the batch norms' statistics of `batches`, ready to score."""
        norms = [
            module for module in self.net.modules() if isinstance(module, torch.nn.BatchNorm2d)
        ]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        self.net.train()
        for module in self.net.modules():
            if isinstance(module, torch.nn.Dropout):
                module.eval()
        for images in batches:
            self.net(images)
        return self.net.eval()


def train(config: Config, workdir: Path) -> torch.nn.Module:
    """Trains by the recipe and returns the net that is to be evaluated."""
    fields = pipeline.open_sources(config.data)
    config.data = pipeline.resolve_data(config.data, fields)
    order = pipeline.make_order(config.data, fields, config.train.seed)
    batches = train_batches(
        fields, order, batch_size=config.data.batch_size, threads=config.data.threads
    )
    net = build_net(config, fields.targets().mean(0) if config.train.prior_bias else None)
    optimizer, schedule = build_optimizer(net, config)
    steps, clip = config.train.steps, config.optim.clip
    average = Average(net, config.train.ema) if config.train.ema else None
    draws = torch.Generator().manual_seed(config.train.seed)

    with open(workdir / "metrics.jsonl", "w", encoding="utf-8") as log:
        for step, batch in enumerate(
            tqdm(itertools.islice(batches, steps), total=steps, unit="step", disable=None), 1
        ):
            images = prepared(batch["image"], config)
            if config.augment.flips:
                images = symmetries(images, torch.randint(0, 8, (len(images),), generator=draws))
            logits = net(images.contiguous(memory_format=torch.channels_last))
            loss = functional.binary_cross_entropy_with_logits(
                logits, torch.from_numpy(batch["targets"]).float()
            )
            optimizer.zero_grad()
            loss.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimizer.step()
            schedule.step()
            if average:
                average.update(net)
            if step % config.train.log_every == 0 or step == steps:
                if not math.isfinite(loss.item()):
                    raise InputError(
                        f"the loss is {loss.item()} at step {step}: lower config.optim.lr"
                    )
                print(
                    json.dumps({"step": step, "split": "train", "loss": loss.item()}),
                    file=log,
                    flush=True,
                )
    if not average:
        return net.eval()
    again = itertools.islice(batches, config.train.ema_batches)
    return average.estimate_statistics(prepared(batch["image"], config) for batch in again)


@torch.no_grad()
def score(net: torch.nn.Module, config: Config, views: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores `float32 [N, L]` and targets `uint8 [N, L]` of the test part; means over the first `views` symmetries."""
    scores, targets = [], []
    for batch in eval_batches(
        pipeline.open_split(config.data, "test"), batch_size=64, threads=config.data.threads
    ):
        images, mask = prepared(batch["image"], config), batch["mask"]
        seen = [symmetries(images, torch.full((len(images),), which)) for which in range(views)]
        mean = sum(torch.sigmoid(net(view)) for view in seen) / views
        scores.append(mean.numpy()[mask])
        targets.append(batch["targets"][mask])
    return np.concatenate(scores), np.concatenate(targets)


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return EXIT_OK
    try:
        _, workdir, config = parse(arguments)
        check(config)
        workdir.mkdir(parents=True, exist_ok=True)
        net = train(config, workdir)
        for name, views in (("none", 1), ("symmetries", 8)):
            (workdir / name).mkdir(exist_ok=True)
            for what, array in zip(("scores", "targets"), score(net, config, views), strict=True):
                np.save(workdir / name / f"{what}.npy", array)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
