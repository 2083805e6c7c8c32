"""A DenseNet in plain PyTorch, the peer of `train_step.py`: torchvision's layers under torchvision's names.

Nothing but PyTorch is imported, so that it runs where torchvision and MONAI are not installed. The head is the linear
one (mean over the map, one dense layer), the epsilon of the norms ours, so that both nets give the same logits from the
same parameters.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional

EPSILON, MOMENTUM = 1.001e-5, 0.1


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON, momentum=MOMENTUM)


class DenseLayer(nn.Module):
    """BN-ReLU-1x1, BN-ReLU-3x3: the input with the new maps behind it."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.norm1, self.conv1 = norm(channels), nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = (
            norm(4 * growth),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        new = self.conv1(functional.relu(self.norm1(x), inplace=True))
        new = self.conv2(functional.relu(self.norm2(new), inplace=True))
        return torch.cat([x, new], 1)


class Transition(nn.Module):
    """BN-ReLU-1x1 to half the channels, mean of 2x2."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm, self.conv = norm(channels), nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(self.conv(functional.relu(self.norm(x), inplace=True)), 2)


class DenseNet(nn.Module):
    """`uint8 [B, H, W, 4]` to logits `[B, labels]`; `mean` and `std` are shares of 255."""

    def __init__(
        self,
        depths,
        growth: int,
        stem: int,
        labels: int,
        mean: float,
        std: float,
        channels: int = 4,
    ):
        super().__init__()
        self.mean, self.std = mean, std
        parts = [
            ("conv0", nn.Conv2d(channels, stem, 7, stride=2, padding=3, bias=False)),
            ("norm0", norm(stem)),
        ]
        parts += [("relu0", nn.ReLU(inplace=True)), ("pool0", nn.MaxPool2d(3, stride=2, padding=1))]
        width = stem
        for block, depth in enumerate(depths, start=1):
            layers = [
                (f"denselayer{n + 1}", DenseLayer(width + n * growth, growth)) for n in range(depth)
            ]
            parts.append((f"denseblock{block}", nn.Sequential(OrderedDict(layers))))
            width += depth * growth
            if block < len(depths):
                parts.append((f"transition{block}", Transition(width)))
                width //= 2
        parts.append(("norm5", norm(width)))
        self.features = nn.Sequential(OrderedDict(parts))
        self.classifier = nn.Linear(width, labels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # Channels last in memory: the images as stored are so already.
        x = ((images.float() / 255 - self.mean) / self.std).permute(0, 3, 1, 2)
        x = functional.relu(self.features(x), inplace=True)
        return self.classifier(x.mean((2, 3)))
