"""Net, symmetries, optimizer and averaged weights of `learning_peer.py`, in PyTorch."""

import copy
import json
import math
from collections.abc import Iterable

import checkout  # noqa: F401
import numpy as np
import torch
from monai.networks.nets import DenseNet
from torch.optim.lr_scheduler import LambdaLR

from hpa_jax.config import Model, Optim
from hpa_jax.models import BACKBONES, prior_bias
from hpa_jax.models.densenet import DenseNet as OurDenseNet


def build_net(
    model: Model, frequencies: np.ndarray | None, num_labels: int, seed: int, channels: int = 4
) -> torch.nn.Module:
    """MONAI's DenseNet with our depths, growth and stem.

    Kernels are normal with variance 2 / fan_in, biases 0, those of the logits the log-odds of the
    labels' frequencies.

    Args:
      model: section of the configuration.
      frequencies: float `[L]`; None: the logits' biases are 0, too.
      num_labels: L.
      seed: of the weights.
      channels: of the images.

    Returns:
      `float32 [B, channels, H, W]` to logits `[B, L]`.
    """
    torch.manual_seed(seed)
    parameters = net_parameters(model.name)
    net = DenseNet(
        spatial_dims=2,
        in_channels=channels,
        out_channels=num_labels,
        init_features=parameters["stem"],
        growth_rate=parameters["growth"],
        block_config=parameters["depths"],
        bn_size=4,
    )
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1.001e-5
            module.momentum = 1 - model.bn_momentum
    logits = net.class_layers.out
    torch.nn.init.zeros_(logits.bias)
    if frequencies is not None:
        logits.bias.data = torch.from_numpy(prior_bias(frequencies))
    net.class_layers.out = torch.nn.Sequential(torch.nn.Dropout(model.dropout), logits)
    return net.to(memory_format=torch.channels_last)


def net_parameters(name: str) -> dict | None:
    """Depths, growth and stem of one of our DenseNets; None of another backbone."""
    backbone = BACKBONES.get(name)
    if getattr(backbone, "func", None) is not OurDenseNet:
        return None
    return {"growth": OurDenseNet.growth, "stem": OurDenseNet.stem} | backbone.keywords


def symmetries(images: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """One of the eight symmetries of the square for each image.

    Args:
      images: `[B, C, H, W]`, H = W.
      which: int `[B]`, 0 to 7.
    """
    images = _where_bit(which, 0, images.flip(2), images)
    images = _where_bit(which, 1, images.flip(3), images)
    return _where_bit(which, 2, images.transpose(2, 3), images)


def _where_bit(
    which: torch.Tensor, bit: int, changed: torch.Tensor, images: torch.Tensor
) -> torch.Tensor:
    is_set = (which >> bit) & 1 == 1
    return torch.where(is_set[:, None, None, None], changed, images)


SCHEDULES = ("constant", "cosine_decay", "warmup_cosine_decay")


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """Fraction of the peak learning rate.

    It rises linearly over `warmup` updates, then falls along half a cosine to 0 at `total`.
    """
    if step < warmup:
        return step / warmup
    progress = min(1.0, (step - warmup) / (total - warmup))
    return 0.5 * (1 + math.cos(math.pi * progress))


def build_optimizer(
    net: torch.nn.Module, optim: Optim, steps: int
) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """AdamW with decay of kernels alone, and the schedule of its learning rates.

    Args:
      net: to train; its backbone is `net.features`.
      optim: section of the configuration, its schedule one of SCHEDULES.
      steps: of the run.
    """
    groups = []
    for name, parameter in net.named_parameters():
        rate = optim.lr
        if name.startswith("features."):
            rate *= optim.backbone_lr
        decay = optim.weight_decay if parameter.ndim > 1 else 0.0
        groups.append({"params": [parameter], "lr": rate, "weight_decay": decay})
    optimizer = torch.optim.AdamW(groups, betas=(optim.b1, optim.b2), eps=optim.eps)
    if optim.schedule == "constant":
        return optimizer, LambdaLR(optimizer, lambda step: 1.0)
    warmup = 0
    if optim.schedule == "warmup_cosine_decay":
        options = json.loads(optim.schedule_options)
        warmup = options.get("warmup_steps", max(1, steps // 20))
    return optimizer, LambdaLR(optimizer, lambda step: warmup_cosine(step, warmup, steps))


class EmaNet:
    """The mean of a net's weights after each update, the k-th last one with weight `decay^k`.

    Attributes:
      net: with the averaged weights.
    """

    def __init__(self, net: torch.nn.Module, decay: float):
        self.net = copy.deepcopy(net)
        self._decay = decay
        self._updates = 0

    @torch.no_grad()
    def update(self, net: torch.nn.Module) -> None:
        self._updates += 1
        # Corrected for the start: the weights of the mean add up to 1.
        fraction = (1 - self._decay) / (1 - self._decay**self._updates)
        for mean, new in zip(self.net.parameters(), net.parameters(), strict=True):
            mean.lerp_(new, fraction)

    @torch.no_grad()
    def estimate_statistics(self, batches: Iterable[torch.Tensor]) -> torch.nn.Module:
        """The averaged net with the batch norms' statistics of `batches`, ready to score."""
        self.net.train()
        for module in self.net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None  # a plain mean over the batches
            elif isinstance(module, torch.nn.Dropout):
                module.eval()
        for images in batches:
            self.net(images)
        return self.net.eval()
