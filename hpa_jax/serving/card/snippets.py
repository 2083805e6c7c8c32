"""How to run an export, as code that works where its files are."""

from hpa_jax.pretrained.torchvision_weights import has_classifier, module_arguments
from hpa_jax.serving.card.facts import Facts
from hpa_jax.serving.decision import is_single_label

PLACEHOLDER = "images = np.zeros((1, {size}, {size}, 4), np.uint8)  # red, green, blue, yellow"
"""Where the reader's own images go."""

_ONNX = """\
import json

import numpy as np
import onnxruntime

{images}
session = onnxruntime.InferenceSession("model.onnx")
(probabilities,) = session.run(["probabilities"], {{"images": images}})

with open("model.json", encoding="utf-8") as file:
    description = json.load(file)
{decision}"""

_BY_THRESHOLDS = """\
for label, threshold, probability in zip(
    description["labels"], description["thresholds"], probabilities[0]
):
    print(label["name"], probability, probability > threshold)
"""

_BY_LARGEST = """\
most_probable = int(probabilities[0].argmax())
print(description["labels"][most_probable]["name"], probabilities[0, most_probable])
"""

_JAX = """\
import numpy as np

from hpa_jax import serving

{images}
net = serving.load(".", backend="jax")  # refuses a changed byte
probabilities = net.probabilities(images)
"""

_TORCHVISION = """\
import json

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file

{images}
with open("model.json", encoding="utf-8") as file:
    description = json.load(file)

{module}
{loading}
net.eval()

# What the other forms of the net do inside: channel mix and normalisation.
matrix = np.array(description["channel_mix"]["matrix"])
normalisation = description["normalisation"]
inputs = images / 255 @ matrix.T
inputs = (inputs - normalisation["mean"]) / normalisation["std"]
inputs = torch.from_numpy(inputs.transpose(0, 3, 1, 2)).float()
with torch.no_grad():
    embedding = {features}.mean((2, 3))
{probabilities}"""

_DENSENET = """\
net = torchvision.models.DenseNet(
    growth_rate={growth_rate},
    block_config={block_config},
    num_init_features={num_init_features},
    num_classes={classes},
)
net.features.conv0 = torch.nn.Conv2d(
    {channels}, {num_init_features}, 7, stride=2, padding=3, bias=False
)"""

_CONVNEXT = """\
block_setting = [
    torchvision.models.convnext.CNBlockConfig(*stage)
    for stage in {block_setting}
]
net = torchvision.models.ConvNeXt(block_setting, num_classes={classes})
net.features[0][0] = torch.nn.Conv2d({channels}, {stem}, 4, stride=4)"""

_WITH_CLASSIFIER = 'net.load_state_dict(load_file("torchvision.safetensors"))'
_WITHOUT_CLASSIFIER = """\
# The head of this net is none of torchvision's: the features alone are this net's.
net.load_state_dict(load_file("torchvision.safetensors"), strict=False)"""


def onnx_snippet(facts: Facts) -> str:
    """By onnxruntime."""
    decision = _BY_LARGEST if is_single_label(facts.description) else _BY_THRESHOLDS
    return _ONNX.format(images=_images(facts), decision=decision)


def jax_snippet(facts: Facts) -> str:
    """By this package."""
    return _JAX.format(images=_images(facts))


def torchvision_snippet(facts: Facts) -> str:
    """By torchvision's DenseNet or ConvNeXt; of no other net."""
    arguments = module_arguments(facts.net)
    shapes = {
        "classes": len(facts.labels),
        "channels": len(facts.description["channel_mix"]["matrix"]),
    }
    if "block_setting" in arguments:
        stages = [tuple(stage) for stage in arguments["block_setting"]]
        module = _CONVNEXT.format(block_setting=stages, stem=stages[0][0], **shapes)
        features = "net.features(inputs)"
    else:
        arguments["block_config"] = tuple(arguments["block_config"])
        module = _DENSENET.format(**arguments, **shapes)
        features = "torch.relu(net.features(inputs))"
    loading = _WITHOUT_CLASSIFIER
    probabilities = ""
    if has_classifier(facts.net, facts.head):
        loading = _WITH_CLASSIFIER
        activation = "softmax(1)" if is_single_label(facts.description) else "sigmoid()"
        probabilities = f"    probabilities = net(inputs).{activation}\n"
    return _TORCHVISION.format(
        images=_images(facts),
        module=module,
        features=features,
        loading=loading,
        probabilities=probabilities,
    )


def _images(facts: Facts) -> str:
    return PLACEHOLDER.format(size=facts.size)
