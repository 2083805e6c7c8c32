"""The nets, each by its name: `create_model("densenet121", head="pooled", num_labels=28)`.

U-Nets by that of their encoder: `create_unet("densenet_small", outputs={"yellow": 1})`.
"""

from hpa_jax.models.classifier import (
    BACKBONES,
    Classifier,
    check_size,
    create_model,
    list_models,
    split_multiple,
)
from hpa_jax.models.heads import HEADS
from hpa_jax.models.initializers import class_prior_bias, init_variables, prior_bias
from hpa_jax.models.unet import UNet, create_unet, list_encoders

__all__ = [
    "BACKBONES",
    "HEADS",
    "Classifier",
    "UNet",
    "check_size",
    "create_model",
    "create_unet",
    "init_variables",
    "list_encoders",
    "list_models",
    "class_prior_bias",
    "prior_bias",
    "split_multiple",
]
