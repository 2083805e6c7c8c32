"""The nets, each by its name: `create_model("densenet121", head="pooled", num_labels=28)`."""

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
from hpa_jax.models.votes import VoteSettings

__all__ = [
    "BACKBONES",
    "EMBEDDING_HEADS",
    "FUSION",
    "FusionNet",
    "HEADS",
    "Classifier",
    "MetricNet",
    "VoteSettings",
    "check_size",
    "class_weights",
    "create_fusion_net",
    "create_metric_net",
    "create_model",
    "init_variables",
    "list_models",
    "part_names",
    "class_prior_bias",
    "prior_bias",
    "split_multiple",
]
