"""A DenseNet in plain PyTorch, the peer of `train_step.py`: torchvision's layers and their names.

Nothing but PyTorch is imported, so that it runs where torchvision and MONAI are not installed. The
head is the linear one (mean over the map, one dense layer), and the epsilon of the norms is ours,
so that both nets give the same logits from the same parameters.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

EPSILON = 1.001e-5
MOMENTUM = 0.1


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON, momentum=MOMENTUM)


class DenseLayer(nn.Module):
    """BN-ReLU-1x1, BN-ReLU-3x3: the input with the new maps after it."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.norm1 = norm(channels)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2 = norm(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        new = self.conv1(functional.relu(self.norm1(x), inplace=True))
        new = self.conv2(functional.relu(self.norm2(new), inplace=True))
        return torch.cat([x, new], 1)


class Transition(nn.Module):
    """BN-ReLU-1x1 to half the channels, mean of 2x2."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = norm(channels)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(functional.relu(self.norm(x), inplace=True))
        return functional.avg_pool2d(x, 2)


class DenseNet(nn.Module):
    """`uint8 [B, H, W, channels]` to logits `[B, labels]`.

    Args:
      depths: layers of each block.
      growth: maps that each layer adds.
      stem: maps of the first convolution.
      labels: number of logits.
      mean, std: of the images divided by 255.
      channels: of the images.
    """

    def __init__(
        self,
        depths: Sequence[int],
        growth: int,
        stem: int,
        labels: int,
        mean: float,
        std: float,
        channels: int = 4,
    ):
        super().__init__()
        self.mean = mean
        self.std = std
        layers = OrderedDict()
        layers["conv0"] = nn.Conv2d(channels, stem, 7, stride=2, padding=3, bias=False)
        layers["norm0"] = norm(stem)
        layers["relu0"] = nn.ReLU(inplace=True)
        layers["pool0"] = nn.MaxPool2d(3, stride=2, padding=1)
        width = stem
        for number, depth in enumerate(depths, start=1):
            block = OrderedDict()
            for layer in range(depth):
                block[f"denselayer{layer + 1}"] = DenseLayer(width, growth)
                width += growth
            layers[f"denseblock{number}"] = nn.Sequential(block)
            if number < len(depths):
                layers[f"transition{number}"] = Transition(width)
                width //= 2
        layers["norm5"] = norm(width)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Linear(width, labels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        normalized = (images.float() / 255 - self.mean) / self.std
        # Channels last in memory: the images as stored are so already.
        x = self.features(normalized.permute(0, 3, 1, 2))
        x = functional.relu(x, inplace=True)
        return self.classifier(x.mean((2, 3)))
