"""Arrays of a net that are none of the trivial: each of them shows in the outputs."""

import jax
import numpy as np
from flax.traverse_util import flatten_dict


def draw(rng: np.random.Generator, path: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
    """float32 values of an array: variances and scales around 1, means and biases around 0.

    The last norm of a residual branch has small scales, as training leaves it: else a ResNet's
    logits reach the hundreds, where rounding alone moves a probability by more than 1e-5.
    """
    *_, layer, name = path
    if name == "scale" and layer == "norm3":
        values = rng.uniform(0.1, 0.4, shape)
    elif name == "kernel":
        fan_in = int(np.prod(shape[:-1]))
        values = rng.normal(0, (1.5 / fan_in) ** 0.5, shape)
    elif name == "var":
        values = rng.uniform(0.5, 2, shape)
    elif name == "scale":
        values = rng.uniform(0.5, 1.5, shape)
    else:
        values = rng.normal(0, 0.3, shape)
    return values.astype(np.float32)


def drawn(shapes: dict, seed: int = 0) -> dict[str, np.ndarray]:
    """Drawn arrays by flat name, for `{'params', 'batch_stats'}` of shapes."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, leaf in sorted(flatten_dict(shapes, sep="/").items()):
        arrays[name] = draw(rng, tuple(name.split("/")), leaf.shape)
    return arrays


def drawn_state(state, seed: int = 0):
    """A training state with such arrays, on the devices of its own."""
    rng = np.random.default_rng(seed)

    def replaced(path: tuple, array: jax.Array) -> jax.Array:
        values = draw(rng, tuple(entry.key for entry in path), array.shape)
        return jax.device_put(values.astype(array.dtype), array.sharding)

    return state.replace(
        params=jax.tree_util.tree_map_with_path(replaced, state.params),
        batch_stats=jax.tree_util.tree_map_with_path(replaced, state.batch_stats),
    )
