"""Class-activation maps of all labels at once, as an export has them.

They are those of `hpa_jax.evaluation.grad_cam`, which computes one label an image.
"""

import jax
import jax.numpy as jnp
from jax import lax

from hpa_jax.models import Classifier

# Their logit is the mean over the positions of a dense layer, `logits`.
_LINEAR_HEADS = ("all_cnn", "linear")


def has_closed_form(head: str) -> bool:
    """Whether the maps of a head follow from its weights, without a gradient."""
    return head in _LINEAR_HEADS


def linear_maps(model: Classifier, variables: dict, features: jax.Array) -> jax.Array:
    """Maps of a head with a closed form.

    Args:
      model: of the head; not needed.
      variables: `{'params', ...}`.
      features: the backbone's last feature map, `float32 [B, h, w, F]`.

    Returns:
      `float32 [B, h, w, L]`: of each label `relu(sum_f w_f A_f) / (h w)`.
    """
    kernel = variables["params"]["head"]["logits"]["kernel"]
    positions = features.shape[1] * features.shape[2]
    return jax.nn.relu(features @ (kernel / positions))


def gradient_maps(model: Classifier, variables: dict, features: jax.Array) -> jax.Array:
    """Maps of any head: its features weighted by the mean gradients of the logits.

    Args:
      model: whose `classify` is differentiated.
      variables, features: as of `linear_maps`.

    Returns:
      `float32 [B, h, w, L]`.
    """

    def classify(features: jax.Array) -> jax.Array:
        return model.apply(variables, features, train=False, method="classify")

    logits, pull_back = jax.vjp(classify, features)

    def weights_of(label: jax.Array) -> jax.Array:
        # An image's logit depends on its own features alone.
        chosen = jnp.broadcast_to(label, logits.shape)
        (gradient,) = pull_back(chosen)
        return jnp.mean(gradient, axis=(1, 2))

    # One label after the other: the gradients of all of them would be L feature maps.
    weights = lax.map(weights_of, jnp.eye(logits.shape[1], dtype=logits.dtype))
    return jax.nn.relu(jnp.einsum("bhwf,lbf->bhwl", features, weights))
