"""The net that is fitted on embeddings: two hidden layers with ReLU and dropout."""

import jax
import jax.numpy as jnp
import numpy as np

from hpa_jax.probe import protocol

Layers = tuple[dict[str, jax.Array], ...]
"""A layer is `{"kernel": float32 [inputs, outputs], "bias": float32 [outputs]}`."""


def init_layers(features: int, labels: int, seed: int) -> Layers:
    """Random layers, on the host.

    Kernels and biases are uniform between -1 / sqrt(inputs) and 1 / sqrt(inputs), as PyTorch's
    `Linear` starts.

    Args:
      features: of an embedding, F.
      labels: L.
      seed: of the random numbers.
    """
    rng = np.random.default_rng([seed, 0])
    layers = []
    inputs = features
    for outputs in (*protocol.HIDDEN, labels):
        bound = 1 / np.sqrt(inputs)
        kernel = rng.uniform(-bound, bound, (inputs, outputs)).astype(np.float32)
        bias = rng.uniform(-bound, bound, outputs).astype(np.float32)
        layers.append({"kernel": kernel, "bias": bias})
        inputs = outputs
    return tuple(layers)


def logits_of(layers: Layers, features: jax.Array) -> jax.Array:
    """Without dropout, as the net is evaluated.

    Args:
      layers: of `init_layers`.
      features: float32 `[N, F]`.

    Returns:
      float32 `[N, L]`.
    """
    return _apply(layers, features, dropout=0.0, key=None)


def training_logits_of(
    layers: Layers, features: jax.Array, key: jax.Array, dropout: float
) -> jax.Array:
    """As `logits_of`, with a fraction `dropout` of each hidden layer set to 0."""
    return _apply(layers, features, dropout=dropout, key=key)


def _apply(
    layers: Layers, features: jax.Array, *, dropout: float, key: jax.Array | None
) -> jax.Array:
    *hidden, last = layers
    values = features
    for number, layer in enumerate(hidden):
        values = jax.nn.relu(values @ layer["kernel"] + layer["bias"])
        if dropout > 0:
            kept = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - dropout, values.shape)
            values = jnp.where(kept, values / (1 - dropout), 0)
    return values @ last["kernel"] + last["bias"]
