"""torchvision, whatever kind of PyTorch it stands beside.

Its wheels are built for CUDA. Beside a PyTorch for the CPU alone their compiled operators cannot be
loaded, and then the import fails, though no net needs them: two operators of detectors are declared
in their place.
"""

import torch

_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_torchvision():
    """The package `torchvision`."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        for name in _OPERATORS:
            torch.library.define(f"torchvision::{name}", _SIGNATURE)
        import torchvision
    return torchvision


def densenet(arguments: dict, channels: int, classes: int):
    """torchvision's DenseNet, its first convolution for so many channels, as for inference."""
    module = import_torchvision().models.DenseNet(**arguments, num_classes=classes)
    first = module.features.conv0
    module.features.conv0 = torch.nn.Conv2d(
        channels, first.out_channels, 7, stride=2, padding=3, bias=False
    )
    return module.eval()


def convnext(arguments: dict, channels: int, classes: int):
    """torchvision's ConvNeXt, its first convolution for so many channels, as for inference."""
    models = import_torchvision().models
    stages = [models.convnext.CNBlockConfig(*stage) for stage in arguments["block_setting"]]
    module = models.ConvNeXt(stages, num_classes=classes)
    first = module.features[0][0]
    module.features[0][0] = torch.nn.Conv2d(channels, first.out_channels, 4, stride=4)
    return module.eval()
