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
from hpa_jax.models.embedding_head import EMBEDDING_HEADS, class_weights
from hpa_jax.models.fusion import FUSION, FusionNet, create_fusion_net, part_names
from hpa_jax.models.heads import HEADS
from hpa_jax.models.initializers import class_prior_bias, init_variables, prior_bias
from hpa_jax.models.metric_net import MetricNet, create_metric_net
from hpa_jax.models.unet import UNet, create_unet, list_encoders
from hpa_jax.models.votes import VoteSettings

__all__ = [
    "BACKBONES",
    "EMBEDDING_HEADS",
    "FUSION",
    "FusionNet",
    "HEADS",
    "Classifier",
    "UNet",
    "MetricNet",
    "VoteSettings",
    "check_size",
    "class_weights",
    "create_fusion_net",
    "create_metric_net",
    "create_model",
    "create_unet",
    "init_variables",
    "list_encoders",
    "list_models",
    "part_names",
    "class_prior_bias",
    "prior_bias",
    "split_multiple",
]
