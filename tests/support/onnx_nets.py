"""Nets whose every array shows in their outputs, and how far a model.onnx is from them."""

import functools

import jax
import numpy as np
from support.drawn_variables import drawn
from support.made_runs import RECIPE

from hpa_jax.config import Config
from hpa_jax.models import create_model
from hpa_jax.recipes import load_config
from hpa_jax.serving.forward import forward_pass
from hpa_jax.serving.onnx.convert import convert
from hpa_jax.serving.onnx.session import open_session
from hpa_jax.serving.onnx.write import as_bytes
from hpa_jax.serving.served import largest_difference
from hpa_jax.transforms.channel_mix import parse_channel_mix

# Of the four stored channels, as datasets have them: none is the same as another.
MEAN = (0.08, 0.12, 0.05, 0.2)
STD = (0.11, 0.17, 0.09, 0.21)


def net_config(name: str, head: str, mix: str, size: int, **fields) -> Config:
    """A configuration as a run of that net has it."""
    made = {
        "model__name": name,
        "model__head": head,
        "data__channel_mix": mix,
        "data__image_size": size,
        "data__mean": MEAN,
        "data__std": STD,
    }
    return load_config(RECIPE, **(made | fields))


def variables_of(config: Config, seed: int = 0) -> dict:
    """Flat variables, float32 arrays by name, drawn."""
    model = create_model(
        config.model.name,
        head=config.model.head,
        num_labels=len(config.label_ids()),
        tile=config.model.tile,
        dtype="float32",
    )
    size = config.data.image_size
    channels = len(parse_channel_mix(config.data.channel_mix))
    image = jax.ShapeDtypeStruct((1, size, size, channels), np.float32)
    key = jax.random.key(0)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), key, image)
    return drawn(shapes, seed)


def model_of(config: Config, variables: dict):
    """The model.onnx of a net, not yet checked."""
    forward = forward_pass(config, closed_form=True)
    size = config.data.image_size
    return convert(lambda images: forward(variables, images), (size, size, 4))


def images_of(size: int, batch: int, seed: int = 1) -> np.ndarray:
    """Smooth spots on black, uint8 `[batch, size, size, 4]`, brightest at the edges."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (batch, 4, 4, 4))
    fine = np.repeat(np.repeat(coarse, -(-size // 4), axis=1), -(-size // 4), axis=2)
    images = fine[:, :size, :size] * rng.uniform(0, 1, (batch, size, size, 4))
    images[:, 0] = 255
    images[:, :, -1] = 255
    return images.astype(np.uint8)


def differences(model, config: Config, variables: dict, batches=(1, 3, 8)) -> dict[str, float]:
    """The largest differences of each output of a model from JAX's, over several batches."""
    run, outputs = open_session(as_bytes(model), "model.onnx")
    forward = jax.jit(forward_pass(config, closed_form=True))
    images = images_of(config.data.image_size, max(batches))
    expected = forward(variables, images)
    assert set(outputs) == set(expected)
    largest = dict.fromkeys(outputs, 0.0)
    for batch in batches:
        found = run(images[:batch], outputs)
        for name in outputs:
            of_batch = np.asarray(expected[name])[:batch]
            assert found[name].shape == of_batch.shape and found[name].dtype == np.float32
            difference = largest_difference(name, found[name], of_batch)
            largest[name] = max(largest[name], difference)
    return largest


def is_same(found: dict[str, float]) -> bool:
    """Whether differences are those of rounding."""
    return all(found[name] <= (1e-5 if name == "probabilities" else 1e-4) for name in found)
