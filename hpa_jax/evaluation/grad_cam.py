"""Where in a field a net finds a label: class-activation maps of the backbone's last map.

Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391): each feature of the last map A is weighted with the mean gradient
of the label's logit over that map, `w_f = mean_yx dlogit / dA_yxf`, and the map is `relu(sum_f w_f A_f)`. It takes any
head. For the linear head dlogit / dA_yxf is the same at every place, the layer's weight over h w, so that this is what
is above 0 of the class-activation map of Zhou et al. 2016 (arXiv:1512.04150), divided by h w.

The gradient goes through the head alone, since it ends at the backbone's map: a map costs little more than a score.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from hpa_jax.models import Classifier
from hpa_jax.parallel.mesh import row_sharder
from hpa_jax.transforms.augment import prepare


def make_grad_cam(
    model: Classifier, *, preparation: dict, mesh: Mesh | None = None
) -> Callable[[dict, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """Class-activation maps of a batch.

    Args:
      model: its `features` and `classify` are called apart.
      preparation: keyword arguments of `augment.prepare`.
      mesh: of the devices; where it has several along `space`, the height of images is cut over those.

    Returns:
      A function, jitted inside, of `{'params', 'batch_stats'}`, images uint8 `[B, H, W, 4]` and one label a field, int
      `[B]` (its position among the logits), to maps `float32 [B, h, w]`, 0 or more, in units of the logit, and the
      logits of those labels, `float32 [B]`. Both lie on the devices as the images do.
    """

    def maps(variables: dict, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        images = row_sharder(mesh)(prepare(images, **preparation))
        features = model.apply(variables, images, train=False, method="features")
        features = features.astype(jnp.float32)

        def chosen(features):
            logits = model.apply(variables, features, train=False, method="classify")
            logits = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
            return (
                logits.sum(),
                logits,
            )  # a field's logit depends on its own map alone: one gradient gives them all

        (_, logits), gradients = jax.value_and_grad(chosen, has_aux=True)(features)
        weights = gradients.mean(axis=(1, 2), keepdims=True)
        return jax.nn.relu((weights * features).sum(axis=-1)), logits

    return jax.jit(maps)
