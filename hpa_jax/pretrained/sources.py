"""Published weights that can be loaded by name, and where their publisher keeps them.

A digest is as its publisher gives it: torchvision's in the file's name (the first hex digits of the
SHA-256; torchvision/models), Keras's MD5 in `keras.applications` (keras 3.15.1), timm's SHA-256 on
the page of each file. A licence is what the publisher states of the weights (timm) or of the
library that they are part of (torchvision); all were trained on ImageNet, whose images have terms
of their own.
"""

from dataclasses import dataclass
from typing import NamedTuple


class Normalization(NamedTuple):
    """Mean and std of red, green, blue as fractions of 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


# torchvision's transforms; 'torch' of keras.applications.
IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# x / 127.5 - 1; 'tf' of keras.applications.
SYMMETRIC = Normalization(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
# x - mean, not divided; 'caffe' of keras.applications.
CAFFE = Normalization(
    mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
)


@dataclass(frozen=True)
class Source:
    """A published file.

    Attributes:
      net: one of hpa_jax.models.BACKBONES.
      url: of the file; its last part is the file's name.
      digest: 'sha256' (its first digits) or 'md5', a colon, hex digits.
      without_top: the same of the file that its publisher gives out without the classifier, '' if
        there is none: a local file is recognized by either.
      mean, std: of red, green, blue as fractions of 255, by which training normalized images:
        config.data.input_mean.
      licence: an SPDX identifier; '' where none was found stated.
      order: of the first convolution's filters in the file, 'rgb' or 'bgr'.
      file: its name in the cache; '': the last part of `url`.
    """

    net: str
    url: str
    digest: str
    without_top: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str = ""
    order: str = "rgb"
    file: str = ""

    @property
    def file_name(self) -> str:
        if self.file:
            return self.file
        return self.url.rpartition("/")[2]


def _torchvision(net: str, digest: str) -> Source:
    url = f"https://download.pytorch.org/models/{net}-{digest}.pth"
    return Source(net, url, f"sha256:{digest}", "", *IMAGENET, licence="BSD-3-Clause")


def _timm(net: str, trained_on: str, revision: str, sha256: str) -> Source:
    repository = f"timm/{net}.{trained_on}"
    url = f"https://huggingface.co/{repository}/resolve/{revision}/model.safetensors"
    return Source(
        net,
        url,
        f"sha256:{sha256}",
        "",
        *IMAGENET,
        licence="Apache-2.0",
        file=f"timm-{net}.{trained_on}.safetensors",
    )


def _keras(
    net: str,
    folder: str,
    md5: str,
    md5_without_top: str,
    normalization: Normalization = IMAGENET,
    order: str = "rgb",
) -> Source:
    place = f"https://storage.googleapis.com/tensorflow/keras-applications/{folder}"
    url = f"{place}/{net}_weights_tf_dim_ordering_tf_kernels.h5"
    return Source(
        net,
        url,
        f"md5:{md5}",
        f"md5:{md5_without_top}",
        *normalization,
        order=order,
    )


SOURCES = {
    "torchvision_densenet121": _torchvision("densenet121", "a639ec97"),
    "torchvision_densenet169": _torchvision("densenet169", "b2777c0a"),
    "torchvision_densenet201": _torchvision("densenet201", "c1103571"),
    "torchvision_convnext_tiny": _torchvision("convnext_tiny", "983f1562"),
    "torchvision_convnext_small": _torchvision("convnext_small", "0c510722"),
    "timm_convnext_tiny.in12k_ft_in1k": _timm(
        "convnext_tiny",
        "in12k_ft_in1k",
        "82e66eaa8f64015e07bab574834728820a6652a7",
        "a1aefa409b513cf209b085424eb3efffe4e4a9f511491bc2c12ea35209e6bb95",
    ),
    "timm_convnext_small.fb_in1k": _timm(
        "convnext_small",
        "fb_in1k",
        "main",
        "5ec5ed9e97fb835093aaf3e6c3fce406b160b367117b6a2b8c7b703386218d1b",
    ),
    "timm_convnext_small.fb_in22k_ft_in1k": _timm(
        "convnext_small",
        "fb_in22k_ft_in1k",
        "adb89ecb994bcffaef1537c955094103b3ef6cc1",
        "2457488bec2ffcb2061b9e3fdd63360114549615e3e35ef6dc5c5efe549cbbc9",
    ),
    "keras_densenet121": _keras(
        "densenet121",
        "densenet",
        "9d60b8095a5708f2dcce2bca79d332c7",
        "30ee3e1110167f948a6b9946edeeb738",
    ),
    "keras_densenet169": _keras(
        "densenet169",
        "densenet",
        "d699b8f76981ab1b30698df4c175e90b",
        "b8c4d4c20dd625c148057b9ff1c1176b",
    ),
    "keras_densenet201": _keras(
        "densenet201",
        "densenet",
        "1ceb130c1ea1b78c3bf6114dbdfd8807",
        "c13680b51ded0fb44dff2d8f86ac8bb1",
    ),
    "keras_resnet50": _keras(
        "resnet50",
        "resnet",
        "2cb95161c43110f7111970584f804107",
        "4d473c1dd8becc155b73f8504c6f6626",
        CAFFE,
        "bgr",
    ),
    "keras_inception_resnet_v2": _keras(
        "inception_resnet_v2",
        "inception_resnet_v2",
        "e693bd0210a403b3192acc6073ad2e96",
        "d19885ff4a710c122648d3b5c3b684e4",
        SYMMETRIC,
    ),
}
"""ImageNet classifiers. A net's head is never taken from them: their labels are others."""


def names_for(net: str) -> list[str]:
    """The names of the published weights for `net`."""
    return [name for name, source in SOURCES.items() if source.net == net]
