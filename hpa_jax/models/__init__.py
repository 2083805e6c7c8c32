"""The nets, each by one name: `build_model('densenet121', head='seed', labels=28, ...)`."""

from hpa_jax.models.classifier import BACKBONES, Classifier, build_model, check_size, split_multiple
from hpa_jax.models.heads import HEADS
from hpa_jax.models.initializers import init_variables, prior_bias

__all__ = [
    "BACKBONES",
    "HEADS",
    "Classifier",
    "build_model",
    "check_size",
    "init_variables",
    "prior_bias",
    "split_multiple",
]
