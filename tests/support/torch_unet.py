"""A U-Net in PyTorch, and our arrays under its keys.

Its encoders are torchvision's DenseNet and ConvNeXt, whose earlier maps are caught where they are
computed, and a ResNet-50 as Keras has it, whose blocks stride in the first 1x1 convolution.
"""

import numpy as np
import torch
from support.torchvision_nets import convnext, densenet
from torch import nn
from torch.nn import functional

from hpa_jax.pretrained.torchvision_weights import module_arguments, to_torchvision

EPSILON = 1.001e-5


class TorchvisionEncoder(nn.Module):
    """One of torchvision's modules; `forward` gives its maps by their stride."""

    def __init__(self, module, places, has_final_norm):
        super().__init__()
        self.module = module
        self.has_final_norm = has_final_norm
        self._found = {}
        for stride, place in places.items():
            place.register_forward_hook(self._catch(stride))

    def _catch(self, stride):
        def hook(module, inputs, output):
            self._found[stride] = output

        return hook

    def forward(self, images):
        last = self.module.features(images)
        if self.has_final_norm:
            last = functional.relu(last)
        maps = self._found | {32: last}
        self._found.clear()
        return maps


def densenet_encoder(name, channels):
    module = densenet(module_arguments(name), channels, 2)
    features = module.features
    places = {
        2: features.relu0,
        4: features.transition1.relu,
        8: features.transition2.relu,
        16: features.transition3.relu,
    }
    return TorchvisionEncoder(module, places, has_final_norm=True)


def convnext_encoder(name, channels):
    module = convnext(module_arguments(name), channels, 2)
    places = {4: module.features[1], 8: module.features[3], 16: module.features[5]}
    return TorchvisionEncoder(module, places, has_final_norm=False)


class Bottleneck(nn.Module):
    def __init__(self, channels, width, stride, project):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, stride=stride)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1)
        self.norm3 = nn.BatchNorm2d(4 * width)
        self.project = project
        if project:
            self.shortcut_conv = nn.Conv2d(channels, 4 * width, 1, stride=stride)
            self.shortcut_norm = nn.BatchNorm2d(4 * width)

    def forward(self, x):
        shortcut = self.shortcut_norm(self.shortcut_conv(x)) if self.project else x
        x = functional.relu(self.norm1(self.conv1(x)))
        x = functional.relu(self.norm2(self.conv2(x)))
        return functional.relu(shortcut + self.norm3(self.conv3(x)))


class ResNetEncoder(nn.Module):
    def __init__(self, channels, depths):
        super().__init__()
        self.stem_conv = nn.Conv2d(channels, 64, 7, stride=2, padding=3)
        self.stem_norm = nn.BatchNorm2d(64)
        self.depths = depths
        before = 64
        for stage, depth in enumerate(depths, start=1):
            width = 64 * 2 ** (stage - 1)
            for block in range(1, depth + 1):
                stride = 2 if block == 1 and stage > 1 else 1
                layer = Bottleneck(before, width, stride, project=block == 1)
                self.add_module(f"stage{stage}_block{block}", layer)
                before = 4 * width

    def forward(self, images):
        x = functional.relu(self.stem_norm(self.stem_conv(images)))
        maps = {2: x}
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for stage, depth in enumerate(self.depths, start=1):
            for block in range(1, depth + 1):
                x = getattr(self, f"stage{stage}_block{block}")(x)
            maps[2 ** (stage + 1)] = x
        return maps


class Level(nn.Module):
    def __init__(self, channels, skip_channels, width):
        super().__init__()
        self.project = nn.Conv2d(channels, width, 1, bias=False)
        self.conv1 = nn.Conv2d(width + skip_channels, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x, skip):
        # In the order of the paper: first doubled, then projected.
        x = self.project(functional.interpolate(x, scale_factor=2, mode="nearest"))
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        x = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(x)))


class TorchUNet(nn.Module):
    """Images `[B, C, H, W]` to a dict of `[B, channels, H, W]`.

    Args:
      encoder: images to maps by their stride.
      channels: of the images.
      outputs: number of channels by name.
      widths: of each level by its stride, coarsest first.
    """

    def __init__(self, encoder, channels, outputs, widths):
        super().__init__()
        self.backbone = encoder
        self.head = nn.Module()
        encoder.eval()
        with torch.no_grad():
            shapes = {s: m.shape[1] for s, m in encoder(torch.zeros(1, channels, 64, 64)).items()}
        before = shapes[32]
        shapes[1] = channels
        self.strides = list(widths)
        for stride, width in widths.items():
            self.head.add_module(f"level{stride}", Level(before, shapes.get(stride, 0), width))
            before = width
        self.names = list(outputs)
        for name, count in outputs.items():
            self.head.add_module(f"output_{name}", nn.Conv2d(before, count, 1))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = EPSILON

    def forward(self, images):
        height, width = images.shape[2:]
        filled = functional.pad(images, (0, -width % 32, 0, -height % 32), mode="reflect")
        maps = self.backbone(filled) | {1: filled}
        x = maps[32]
        for stride in self.strides:
            x = getattr(self.head, f"level{stride}")(x, maps.get(stride))
        outputs = {}
        for name in self.names:
            output = getattr(self.head, f"output_{name}")(x)
            outputs[name] = output[:, :, :height, :width]
        return outputs


_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def as_state(arrays, name):
    """Flat arrays of ours, or their gradients, under the keys of a TorchUNet.

    Args:
      arrays: by `params/head/level16/project/kernel` and the like.
      name: of the encoder.
    """
    state = {}
    is_torchvision = not name.startswith("resnet")
    for key, array in arrays.items():
        _, part, *layers, leaf = key.split("/")
        if part == "backbone" and is_torchvision:
            continue
        if leaf == "kernel":
            if array.ndim == 2:
                array = array[None, None]
            array = np.ascontiguousarray(array.transpose(3, 2, 0, 1))
        state[".".join([part, *layers, _LEAVES[leaf]])] = array
    if is_torchvision:
        for key, array in to_torchvision(arrays, name, "other").items():
            state[f"backbone.module.{key}"] = array
    return state


def load_ours(net, arrays, name):
    """Puts flat arrays of ours into a TorchUNet; each of its arrays gets a value."""
    state = {key: torch.tensor(array) for key, array in as_state(arrays, name).items()}
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert not unexpected
    left = [key for key in missing if not key.endswith("num_batches_tracked")]
    # torchvision's classifier, which no encoder needs.
    assert all(key.startswith("backbone.module.classifier") for key in left), left
