"""Class-activation maps of all labels at once, as an export has them.

They are those of `hpa_jax.evaluation.grad_cam`, which computes one label an image.
"""

import jax
import jax.numpy as jnp
from jax import lax

from hpa_jax.models import Classifier
from hpa_jax.models.norm import LAYER_NORM_EPSILON


def linear_maps(model: Classifier, variables: dict, features: jax.Array) -> jax.Array:
    """Maps of a head whose logit is the mean over the positions of a dense layer, `logits`.

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


def norm_linear_maps(model: Classifier, variables: dict, features: jax.Array) -> jax.Array:
    """Maps of a head whose dense layer follows a layer norm of the mean over the positions.

    With `n = (m - mean(m)) / s` the normalized mean of the features, `s` its standard deviation and
    `g` the product of the norm's scale and the label's weights, the gradient of the logit by `m` is
    `(g - mean(g) - n mean(g n)) / s`, each mean over the features. Its product with `m` itself is
    next to 0, since the norm takes the scale of `m` away: what is left, epsilon's part, is added in
    its closed form, and all else is computed from the distances to `m`. Otherwise a map of one
    position would be rounding alone.

    Args:
      model, variables, features: as of `linear_maps`.

    Returns:
      `float32 [B, h, w, L]`.
    """
    head = variables["params"]["head"]
    weights = head["norm"]["scale"][:, jnp.newaxis] * head["logits"]["kernel"]
    positions = features.shape[1] * features.shape[2]

    mean = jnp.mean(features, axis=(1, 2), keepdims=True)
    center = mean - jnp.mean(mean, axis=-1, keepdims=True)
    std = jnp.sqrt(jnp.mean(jnp.square(center), axis=-1, keepdims=True) + LAYER_NORM_EPSILON)
    normalized = center / std
    projections = normalized @ weights
    remainder = projections * (LAYER_NORM_EPSILON / std)

    distances = features - mean
    along = jnp.mean(distances * normalized, axis=-1, keepdims=True)
    maps = distances @ (weights - jnp.mean(weights, axis=0)) - along * projections
    return jax.nn.relu((maps + remainder) / (std * positions))


CLOSED_FORMS = {
    "all_cnn": linear_maps,
    "linear": linear_maps,
    "norm_linear": norm_linear_maps,
}
"""The heads whose maps follow from their weights, without a gradient."""


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
