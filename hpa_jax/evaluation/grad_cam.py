"""Where in an image a net finds a label: Grad-CAM on the backbone's last feature map.

Each feature f of the last map A is weighted with the mean gradient of the label's logit over that
map, `w_f = mean_yx dlogit / dA_yxf`, and the class-activation map is `relu(sum_f w_f A_f)`. It
works with any head. For the linear head dlogit / dA_yxf is the same at every place, the layer's
weight over h w, so that this is the positive part of the class-activation map of Zhou et al.,
divided by h w.

The gradient goes through the head alone, since it ends at the backbone's map: a map costs little
more than a score.

References:
  Selvaraju et al., "Grad-CAM", ICCV 2017, arXiv:1610.02391.
  Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016,
  arXiv:1512.04150.
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
      model: its `features` and `classify` are called separately.
      preparation: keyword arguments of `augment.prepare`.
      mesh: of the devices; where it has several along `space`, the height of images is sharded over
        those.

    Returns:
      A jitted function of `{'params', 'batch_stats'}`, images uint8 `[B, H, W, 4]` and one label an
      image, int `[B]` (its position among the logits). It returns maps `float32 [B, h, w]`, 0 or
      more, in units of the logit, and the logits of those labels, `float32 [B]`, both sharded as
      the images are.
    """

    def grad_cam(
        variables: dict, images: jax.Array, labels: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        images = row_sharder(mesh)(prepare(images, **preparation))
        features = model.apply(variables, images, train=False, method="features")
        features = features.astype(jnp.float32)

        def label_logits(features: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits = model.apply(variables, features, train=False, method="classify")
            logits = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
            # An image's logit depends on its own map alone: the gradient of the sum has them all.
            return logits.sum(), logits

        (_, logits), gradients = jax.value_and_grad(label_logits, has_aux=True)(features)
        weights = gradients.mean(axis=(1, 2), keepdims=True)
        return jax.nn.relu((weights * features).sum(axis=-1)), logits

    return jax.jit(grad_cam)
